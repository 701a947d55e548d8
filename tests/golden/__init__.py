"""The whole chain in small, with the digests that every x86-64 processor with AVX2 must give."""

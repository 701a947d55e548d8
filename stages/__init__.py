"""The stages of dvc.yaml: each reads its inputs, calls `omgsr`, and writes its outputs."""

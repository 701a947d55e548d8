"""Settings of the restoration: section `infer` of a profile."""

from typing import Literal

from omgsr.core.settings import Count, Whole, section


@section
class Infer:
    """Restoration of the benchmarks."""

    batch: Count
    """Images of one size restored at once."""
    color: Literal["adain", "wavelet", "none"]
    """How colours are aligned with the LQ image."""
    tile: Count | None = None
    """Side of the tiles of large images, pixels of the result; null takes what memory allows."""
    overlap: Whole | None = None
    """Pixels that neighbouring tiles share; null is a quarter of the tile."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Weights and arithmetic of the networks; colours and what tiles are put into are fp32."""
    process_size: Count | None = None
    """Results with a smaller side are restored larger and reduced; null restores none so."""
    view: Literal["image", "tile"] = "image"
    """What a tile of the denoiser goes by: the whole image, reduced, or, as in tiled diffusion,
    itself alone."""
    offload: bool = False
    """Keep the denoiser on the CPU, each layer on the GPU while it computes: less GPU memory, more
    time."""

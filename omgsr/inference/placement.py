"""Where the networks of a generator lie while it restores, and in which type they are read."""

import torch

from omgsr.inference.precision import Precision
from omgsr.method.generator import Generator
from omgsr.models.backbones import compact


def weights(dtype: Precision) -> torch.dtype:
    """The type that the denoiser's weights are read in.

    fp16 is read in fp32, as a weight that it cannot hold keeps the network in fp32 (precision.py).
    """
    return torch.bfloat16 if dtype == "bf16" else torch.float32


def place(generator: Generator, device: torch.device, offload: bool = False) -> Generator:
    """Moves a generator to `device` and returns it; with `offload` all but its denoiser."""
    if not offload:
        return generator.to(device)
    backbone = generator.backbone
    denoiser, backbone.denoiser = backbone.denoiser, None
    generator.to(device)
    backbone.denoiser = denoiser
    compact.offload(denoiser, device)
    return generator

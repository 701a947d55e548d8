"""Where models lie, in which precision, and how much memory a training has taken."""

import resource
import sys
from typing import Any

import torch
from torch import nn

from omgsr.method import lora
from omgsr.method.generator import Generator
from omgsr.method.settings import Precision
from omgsr.models.features import Features

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def place(
    generator: Generator,
    features: Features,
    device: torch.device,
    precision: Precision,
    checkpointing: bool,
) -> None:
    """Puts both networks where they are trained; frozen weights take the precision.

    Adapters stay in fp32, so that small updates are not lost. On a GPU convolutions get the
    channels-last layout, which its tensor cores take without a copy.
    """
    backbone: Any = generator.backbone
    for module in (backbone.vae, backbone.denoiser, features.levels):
        _cast_frozen(module, DTYPES[precision])
    networks: tuple[Any, ...] = (generator, features)
    for whole in networks:
        whole.to(device)
        if device.type == "cuda":
            whole.to(memory_format=torch.channels_last)
    if checkpointing:
        backbone.vae.enable_gradient_checkpointing()
        backbone.denoiser.enable_gradient_checkpointing()
        features.checkpointing(True)


def _cast_frozen(module: nn.Module, dtype: torch.dtype) -> None:
    names = (lora.DEFAULT, lora.REGULARISER)
    trained = {id(p) for name in names for p in lora.parameters(module, name)}
    for parameter in module.parameters():
        if id(parameter) not in trained:
            parameter.data = parameter.data.to(dtype)


def peak_gib(device: torch.device) -> float:
    """Most memory in use so far, GiB: of the GPU's allocator, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30

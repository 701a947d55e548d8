"""The memory of a training: where models lie, in which precision, moments of how many bits."""

import resource
import sys
from typing import Any

import torch
from torch import nn

from omgsr.method import lora
from omgsr.method.generator import Generator
from omgsr.method.settings import Arithmetic, Precision
from omgsr.models.features import Features
from omgsr.training import sharding
from omgsr.training.processes import Processes
from omgsr.training.settings import Optimiser

DTYPES: dict[Arithmetic, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


def place(
    generator: Generator,
    features: Features,
    device: torch.device,
    precision: Precision,
    checkpointing: bool,
    shared_by: Processes | None = None,
) -> None:
    """Puts both networks where they are trained; frozen weights take the precision of their part.

    Those of the denoiser are spread over the processes `shared_by` (sharding.py).

    Adapters stay in fp32, so that small updates are not lost; the feature network does where Dv3CD
    or the discriminator, which share it, is in fp32. On a GPU convolutions get the channels-last
    layout, which its tensor cores take without a copy.
    """
    backbone: Any = generator.backbone
    both = precision.features == precision.heads
    looked_through: Arithmetic = precision.features if both else "fp32"
    _cast_frozen(backbone.vae, DTYPES[precision.vae])
    _cast_frozen(backbone.denoiser, DTYPES[precision.denoiser])
    _cast_frozen(features.levels, DTYPES[looked_through])
    if shared_by is not None:
        sharding.shard(backbone.denoiser, shared_by)
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
    """All but adapters, and batch norms, whose weights and statistics have to be of one type."""
    names = (lora.DEFAULT, lora.REGULARISER)
    kept = {id(p) for name in names for p in lora.parameters(module, name)}
    norms = (m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    kept |= {id(p) for norm in norms for p in norm.parameters()}
    for parameter in module.parameters():
        if id(parameter) not in kept and parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def optimiser(
    name: Optimiser, parameters: list[nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW (Sec. 4.1.1); `adamw8bit` keeps its moments in 8 bits, a quarter of the memory.

    Raises ImportError where bitsandbytes, which has the 8-bit one, cannot be used.
    """
    options: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay}
    if name == "adamw":
        on_gpu = all(p.is_cuda for p in parameters)
        return torch.optim.AdamW(parameters, **options, foreach=False, fused=on_gpu)
    try:
        import bitsandbytes as bnb
    except Exception as error:
        raise ImportError(
            f"train.optimiser: adamw8bit needs bitsandbytes, which cannot be used here ({error}); "
            "install it or set train.optimiser to adamw"
        ) from error
    optim: Any = bnb.optim
    return optim.AdamW8bit(parameters, **options)


def peak_gib(device: torch.device) -> float:
    """Most memory in use so far, GiB: of the GPU's allocator, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30

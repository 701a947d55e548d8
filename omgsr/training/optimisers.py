"""AdamW of every part, with 32-bit or 8-bit moments."""

from typing import Any

import torch
from torch import nn

from omgsr.training.settings import Optimiser


def build(
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
    made: torch.optim.Optimizer = optim.AdamW8bit(parameters, **options)
    return made

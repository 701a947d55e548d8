"""A frozen denoiser in less memory: its blocks in 4 bits a weight, or each on the GPU in its turn.

NF4 (QLoRA, Dettmers et al. 2023) keeps a weight as one of 16 values, and of every 64 of them a
scale in 8 bits: 0.516 byte a weight. Activations are computed in the type that a block is given.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

Quantise = Literal["nf4"]


def blocks(denoiser: Any) -> list[nn.Module]:
    """The repeated blocks of a network of diffusers, which hold nearly all of its weights.

    Those whose classes it says are not to be split. Raises ValueError where it has none.
    """
    kinds = set(denoiser._no_split_modules or ())
    found = list(_outermost(denoiser, kinds))
    if not found:
        raise ValueError(f"{type(denoiser).__name__} does not say which of its blocks repeat")
    return found


def _outermost(module: nn.Module, kinds: set[str]) -> Iterator[nn.Module]:
    for child in module.children():
        if type(child).__name__ in kinds:
            yield child
        else:
            yield from _outermost(child, kinds)


def quantise(denoiser: Any) -> None:
    """Puts the linear layers of its blocks into NF4, on the CPU: the same codes on every machine.

    Raises ImportError where bitsandbytes cannot be used.
    """
    try:
        import bitsandbytes
    except Exception as error:
        raise ImportError(
            f"foundation.quantise: nf4 needs bitsandbytes, which cannot be used here ({error}); "
            "install it or set foundation.quantise to null"
        ) from error
    bnb: Any = bitsandbytes.nn
    for block in blocks(denoiser):
        for name, layer in list(block.named_modules()):
            if type(layer) is nn.Linear:
                small = bnb.Linear4bit(
                    layer.in_features, layer.out_features, layer.bias is not None,
                    quant_type="nf4", device=torch.device("meta"),
                )  # fmt: skip
                weight = bnb.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4")
                small.weight, small.bias = weight.to("cpu"), layer.bias
                block.set_submodule(name, small)
    denoiser.is_loaded_in_4bit = True  # what PEFT chooses its layers by


def quantised(denoiser: nn.Module) -> bool:
    """Whether its blocks are in 4 bits: merged adapters would be rounded to them."""
    return any(getattr(module, "is_loaded_in_4bit", False) for module in denoiser.modules())


def offload(denoiser: Any, device: torch.device) -> None:
    """Keeps a denoiser on the CPU; each of its layers is on `device` while it computes."""
    from diffusers.hooks import apply_group_offloading

    apply_group_offloading(
        denoiser, onload_device=device, offload_device=torch.device("cpu"),
        offload_type="leaf_level",
    )  # fmt: skip

"""Adapters added to the weights that they belong to."""

from typing import Any

from torch import nn

from omgsr.core.parallel import side_by_side


def merged(module: Any) -> nn.Module:
    """PEFT model => its base model with W + s B A; what has no adapters stays as it is.

    On one thread: the sums of a product depend on how many share it, and so would the last bit of
    every picture on the machine's cores.
    """
    if not hasattr(module, "merge_and_unload"):
        return module
    [whole] = side_by_side(lambda one: one.merge_and_unload(), [module], workers=1)
    return whole

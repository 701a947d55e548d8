"""basicsr's RRDBNet, without the package around it.

Its file imports a registry and an arch_util that loads every operator of basicsr, some of which no
longer load. Stand-ins with the four names that it takes from them are there while it loads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from torch import nn
from torch.nn.functional import pixel_unshuffle

from omgsr.core import basicsr_shim

_UTIL = "omgsr.core.basicsr_shim.archs.arch_util"
_REGISTRY = "basicsr.utils.registry"


@cache
def network() -> Callable[..., nn.Module]:
    """The class RRDBNet; its weights are to be loaded, they are not initialised as in training."""
    with _stand_ins():
        loaded: Any = basicsr_shim.module("archs.rrdbnet_arch")
    found: Callable[..., nn.Module] = loaded.RRDBNet
    return found


@contextmanager
def _stand_ins() -> Iterator[None]:
    util, registry = ModuleType(_UTIL), ModuleType(_REGISTRY)
    vars(util).update(
        default_init_weights=lambda *_: None,
        make_layer=lambda block, count, **kw: nn.Sequential(*(block(**kw) for _ in range(count))),
        pixel_unshuffle=lambda x, scale: pixel_unshuffle(x, scale),
    )
    vars(registry).update(ARCH_REGISTRY=_Registry())
    before = {name: sys.modules.get(name) for name in (_UTIL, _REGISTRY)}
    sys.modules.update({_UTIL: util, _REGISTRY: registry})
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class _Registry:
    """Lets classes pass that ask to be registered."""

    def register(self) -> Callable[[Any], Any]:
        return lambda registered: registered

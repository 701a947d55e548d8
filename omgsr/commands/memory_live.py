"""Tensors that have no memory, and how much those would take that live at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class Live(TorchDispatchMode):
    """Inside, the bytes of all tensors that are made and are still there, and their largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs an operation and counts what is new of it."""
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return 0.0 if args[0].is_floating_point() else 0  # a number that is drawn has no value
        given = {id(one) for one in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if id(storage) not in given and storage not in self._seen:
                self._add(storage)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        self._seen[storage] = _Gone(self, storage.nbytes())
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)


class _Gone:
    """Goes with its tensor, as the value of a weak key, and takes its bytes off."""

    def __init__(self, live: Live, size: int) -> None:
        self.live, self.size = live, size

    def __del__(self) -> None:
        self.live.now -= self.size


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [x.untyped_storage() for x in tree_leaves(values) if isinstance(x, Tensor)]


def materialise(whole: nn.Module, trained: Sequence[nn.Parameter]) -> None:
    """Puts tensors on the CPU where those of the device `meta` are.

    Trained ones have a gradient, as in all passes of an optimiser step but the first.
    """
    made: dict[int, Tensor] = {}
    moved = {id(p) for p in trained}

    def other(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_meta:
            return x
        if id(x) not in made:
            new = torch.zeros(x.shape, dtype=x.dtype)
            if isinstance(x, nn.Parameter):
                new = nn.Parameter(new, x.requires_grad)
                new.grad = torch.zeros_like(new) if id(x) in moved else None
            made[id(x)] = new
        return made[id(x)]

    kept = list(whole.modules())  # so that no id is given twice
    for module in kept:
        for own in (module._parameters, module._buffers, module.__dict__):
            for name, value in list(own.items()):
                own[name] = other(value)

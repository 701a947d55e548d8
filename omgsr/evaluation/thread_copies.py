"""PyIQA's networks on many threads: their weights are shared, all else is a thread's own."""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

SEED = 123
"""Before each image where a metric draws random crops; PyIQA's own default."""
_drawing = threading.Lock()


def twin(model: Any) -> Any:
    """A copy with the same weights, which are in memory once; what is no network stays itself."""
    if not isinstance(model, torch.nn.Module):
        return model
    shared: dict[int, Any] = {}
    waiting: list[Any] = [model]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            shared[id(one)] = one
        elif isinstance(one, torch.nn.Module):
            waiting += [*one.parameters(), *one.buffers()]
            # PyIQA hides networks in lists where their weights shall not be saved with its own.
            held = [v for part in one.modules() for v in vars(part).values()]
            waiting += [v for v in held if isinstance(v, Tensor | list | tuple)]
        else:
            waiting += [v for v in one if isinstance(v, torch.nn.Module)]
    return copy.deepcopy(model, shared)


@contextmanager
def seeded() -> Iterator[None]:
    """The same random numbers for every image, and nobody else's changed; one thread at a time.

    PyIQA draws from the generators that the whole process shares.
    """
    with _drawing, torch.random.fork_rng():
        before = np.random.get_state()  # noqa: NPY002
        np.random.seed(SEED)  # noqa: NPY002
        torch.manual_seed(SEED)
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002

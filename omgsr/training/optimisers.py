"""AdamW of both networks, with 32-bit or 8-bit moments, and the average of the adapters."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.training_utils import EMAModel
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


class Average:
    """Exponential moving average of parameters, kept beside them (diffusers' EMAModel).

    The decay rises as (1 + step) / (10 + step) up to `decay`, so that the fresh weights of the
    first steps do not stay in it.
    """

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        """`decay` in (0, 1)."""
        self._parameters = parameters
        self._model = EMAModel(parameters, decay=decay)

    def update(self) -> None:
        """Follows one optimiser step."""
        self._model.step(self._parameters)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the parameters are their average."""
        self._model.store(self._parameters)
        self._model.copy_to(self._parameters)
        try:
            yield
        finally:
            self._model.restore(self._parameters)

    def state_dict(self) -> dict[str, Any]:
        """What `update` changes."""
        return self._model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        device = self._parameters[0].device
        self._model.load_state_dict(state)
        self._model.to(device)

"""What a training run depends on beside its models and its data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from omgsr.training.memory import Precision
from omgsr.training.optimisers import Name


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Losses, optimiser, precision and departures from the paper; `train` of a profile."""

    losses: Mapping[str, float]
    """Weight of every generator term (Eq. 13); `gan` also weighs Eq. 15."""
    steps: int
    """Optimiser steps."""
    batch: int
    """Pairs of one forward pass."""
    accumulate: int
    """Forward passes of one optimiser step, over all processes."""
    lr: float
    """AdamW learning rate of every part."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Whether lr stays, or falls along half a cosine to zero at the last step."""
    optimiser: Name = "adamw"
    """AdamW with 32-bit or 8-bit moments."""
    weight_decay: float
    """AdamW weight decay."""
    ema: float | None = None
    """Decay of the adapters' moving average, or None."""
    clip_grad: float | None
    """Largest gradient norm of each part, or None."""
    precision: Precision = "fp32"
    """Arithmetic of the networks, and what frozen weights are kept in."""
    gradient_checkpointing: bool = False
    """Whether activations are computed a second time instead of kept."""
    clamp: bool = False
    """Whether x_sr is limited to [-1, 1] before the losses."""
    real_label: float
    """Soft label of real images (Eqs. 12 and 14)."""
    diffaugment: bool = False
    """Whether the discriminator sees augmented images."""
    spectral_norm: bool = False
    """Whether the heads' convolutions are spectrally normalised."""
    head_gradient: Literal["own", "leftover"] = "own"
    """The heads' gradient: of Eq. 15 alone, or with that of Eq. 12 left in it."""
    gradient_norms_every: int | None = None
    """Steps between gradient norms of the single terms, or None."""
    seed: int
    """Root of the noise, the order of the pairs and the fresh weights."""

    def lr_at(self, step: int) -> float:
        """Learning rate of the update that follows `step` finished ones."""
        if self.lr_schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def share(self, processes: int) -> int:
        """Forward passes of one step in each of `processes`; ValueError where it is no whole."""
        if self.accumulate % processes:
            raise ValueError(
                f"train.accumulate: {self.accumulate} forward passes a step cannot be shared by "
                f"{processes} processes; use a number of processes that divides it"
            )
        return self.accumulate // processes

"""Settings of the method: variants, the section `timestep`, and what its objective depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from omgsr.core.settings import Count, Weight, section

Loss = Literal["lrr", "to_hq", "gan", "dv3cd", "lpips", "ssim", "l1", "l2", "vsd"]
Precision = Literal["fp32", "bf16"]


@section
class Variant:
    """One way to train: a row of the paper's ablation tables."""

    losses: dict[Loss, Weight]
    """Weight of every loss term in use, 0 or more (Eq. 13)."""

    def __post_init__(self) -> None:
        if not any(self.losses.values()):
            raise ValueError("a variant needs a loss with a weight above 0")


@section
class TimestepSection:
    """How t* is computed (Eqs. 5 and 19)."""

    images: Count | None
    """Training pairs to use, spread evenly over the set; null uses all."""
    batch: Count
    """Pairs encoded at once; does not change the result."""
    latent: Literal["mode", "sample"]
    """What stands for a latent: the mode of the VAE's posterior, or a sample of it."""
    bootstrap: Count
    """Resamplings behind the interval."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """What the losses and their gradients depend on."""

    losses: Mapping[str, float]
    """Weight of every generator term (Eq. 13); `gan` also weighs Eq. 15."""
    precision: Precision = "fp32"
    """Arithmetic of the networks, and what frozen weights are kept in."""
    real_label: float
    """Soft label of real images (Eqs. 12 and 14)."""
    diffaugment: bool = False
    """Whether the discriminator sees augmented images."""
    clamp: bool = False
    """Whether x_sr is limited to [-1, 1] before the losses."""
    head_gradient: Literal["own", "leftover"] = "own"
    """The heads' gradient: of Eq. 15 alone, or with that of Eq. 12 left in it."""

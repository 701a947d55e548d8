"""Settings of the method: variants, the section `timestep`, and what its objective depends on."""

from typing import Annotated, Literal

from pydantic import Field

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


@section
class ObjectiveSettings:
    """What gradients depend on beside the weights of the losses: a part of section `train`."""

    precision: Precision
    """`bf16`: frozen weights and arithmetic; adapters and heads stay in fp32."""
    clamp: bool
    """Limit the restored image to [-1, 1] before the losses, which ends gradients outside."""
    real_label: Annotated[float, Field(gt=0, le=1)]
    """Label of real images, in (0, 1] (Eqs. 12 and 14)."""
    diffaugment: bool
    """Random colour, translation and cutout of what the discriminator sees."""
    head_gradient: Literal["own", "leftover"]
    """`own`: Eq. 15 alone; `leftover`: that of Eq. 12 is left in the heads and added."""

"""Settings of the method: variants, the section `timestep`, and what its objective depends on."""

from typing import Annotated, Literal

from pydantic import Field

from omgsr.core.settings import Count, Weight, section

Loss = Literal[
    "lrr", "to_hq", "gan", "dv3cd", "lpips", "stlpips", "ssim", "l1", "l2", "pattern", "vsd"
]
Arithmetic = Literal["fp32", "bf16"]
Heads = Literal["map", "official"]
OFFICIAL_SIDE = 384
"""Smallest side of an image that the heads `official` judge, pixels."""


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
class Precision:
    """What each part computes in, and where it is frozen keeps its weights in.

    Adapters, heads, latents, images and losses are fp32 whatever stands here.
    """

    vae: Arithmetic
    """Encoder and decoder."""
    denoiser: Arithmetic
    features: Arithmetic
    """The feature network for Dv3CD; those of the losses `lpips` and `stlpips` are fp32."""
    heads: Arithmetic
    """The discriminator: its pass of the feature network, and the heads."""


@section
class ObjectiveSettings:
    """What gradients depend on beside the weights of the losses: a part of section `train`."""

    precision: Precision
    """Arithmetic and frozen weights of each part."""
    clamp: bool
    """Limit the restored image to [-1, 1] before the losses, which ends gradients outside."""
    real_label: Annotated[float, Field(gt=0, le=1)]
    """Label of real images, in (0, 1] (Eqs. 12 and 14)."""
    heads: Heads
    """`map`: logits with stride 32, from 32 px; `official`: one logit a level, from 384 px."""
    diffaugment: Literal["none", "shared", "anew"]
    """Random colour, translation and cutout of what the discriminator sees.

    `shared`: a restored image is drawn for once, in the generator's pass and in the heads'; `anew`:
    in each of them.
    """
    head_gradient: Literal["own", "leftover"]
    """`own`: Eq. 15 alone; `leftover`: that of Eq. 12 is left in the heads and added."""

"""Sections of the configuration that say how each step is carried out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from omgsr.core.build import Range
from omgsr.sections import Count, MetricName, Positive, Weight, Whole


@dataclass(frozen=True, kw_only=True)
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
class Validation:
    """Scores on a part of the training set that is not trained on; never on a benchmark."""

    images: Count
    """HQ images held out, with all their pairs; spread evenly over the set."""
    pairs: Count
    """Pairs of these images that are restored each time."""
    every: Count
    """Steps between two validations; the last step is always one."""
    metrics: tuple[MetricName, ...]
    """PyIQA names."""

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(
                f"metrics: got {list(self.metrics)}, allowed: at least one, each of them once"
            )


@dataclass(frozen=True, kw_only=True)
class Train:
    """Fine-tuning of the adapters and the discriminator."""

    steps: Count
    """Optimiser steps."""
    batch: Count
    """Pairs of one forward pass."""
    accumulate: Count
    """Forward passes of one optimiser step, shared between the processes."""
    lr: Positive
    """AdamW learning rate of both networks."""
    lr_schedule: Literal["constant", "cosine"]
    """`constant` as in the paper, or `cosine`: falls to zero at the last step."""
    optimiser: Literal["adamw", "adamw8bit"]
    """AdamW of torch, or with 8-bit moments of bitsandbytes."""
    weight_decay: Weight
    """AdamW weight decay."""
    ema: Annotated[float, Range(0, 0.99999, above=True)] | None
    """Decay of the averaged adapters, which are then the result; null keeps no average."""
    clip_grad: Positive | None
    """Largest gradient norm; null leaves gradients as they are."""
    precision: Literal["fp32", "bf16"]
    """`bf16`: frozen weights and arithmetic; adapters and heads stay in fp32."""
    gradient_checkpointing: bool
    """Compute activations a second time instead of keeping them: less memory, more time."""
    encoder_rank: Count
    """LoRA rank in the VAE encoder."""
    unet_rank: Count
    """LoRA rank in the denoiser."""
    latent: Literal["mode", "sample"]
    """What stands for a latent: the mode of the VAE's posterior, or a sample of it."""
    clamp: bool
    """Limit the restored image to [-1, 1] before the losses, which ends gradients outside."""
    real_label: Annotated[float, Range(0, 1, above=True)]
    """Label of real images, in (0, 1]."""
    diffaugment: bool
    """Random colour, translation and cutout of what the discriminator sees."""
    spectral_norm: bool
    """Spectral normalisation of the heads' convolutions."""
    head_gradient: Literal["own", "leftover"]
    """`own`: Eq. 15 alone; `leftover`: that of Eq. 12 is left in the heads and added."""
    crop: Count | None
    """HQ side, pixels; null trains on whole pairs."""
    validation: Validation | None
    """Scores while training; null trains on all pairs without."""
    final: str
    """`last`, or a validation metric: the adapters of the step with its best value are kept."""
    checkpoint_every: Count
    """Steps between checkpoints."""
    log_every: Count
    """Steps between rows of history.csv."""
    gradient_norms_every: Count | None
    """Steps between gradient norms of every single loss; null measures none."""
    preview_every: Count
    """Steps between preview pictures."""
    num_workers: Whole
    """Processes that load pairs; 0 loads in the training process."""

    def __post_init__(self) -> None:
        metrics = self.validation.metrics if self.validation else ()
        if self.final not in ("last", *metrics):
            raise ValueError(
                f"final: got {self.final!r}, allowed: last"
                + "".join(f", {name}" for name in metrics)
                + ("" if metrics else "; a metric needs `validation`")
            )


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Restoration of the benchmarks."""

    batch: Count
    """Images of one size restored at once."""
    color: Literal["adain", "wavelet", "none"]
    """How colours are aligned with the LQ image."""
    tile: Count | None = None
    """Side of the tiles of large images, pixels of the result; null takes what memory allows."""
    overlap: Whole | None = None
    """Pixels that neighbouring tiles share; null is a quarter of the tile."""
    dtype: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Weights and arithmetic of the networks; colours and what tiles are put into are fp32."""
    process_size: Count | None = None
    """Results with a smaller side are restored larger and reduced; null restores none so."""
    view: Literal["image", "tile"] = "image"
    """What a tile of the denoiser goes by: the whole image, reduced, or, as in tiled diffusion,
    itself alone."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Metrics over the restored benchmarks."""

    metrics: tuple[MetricName, ...]
    """PyIQA names; full-reference ones run where a benchmark is paired."""
    crop_border: Whole
    """Pixels left out at every edge; FID sees the whole image."""
    reference: dict[str, str] = field(default_factory=dict)
    """By benchmark, a folder of images that FID compares with; without one it is the HQ images."""
    composite: tuple[MetricName, ...] | None = None
    """Metrics of the composite score (Eq. 22); null takes all."""

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(
                f"metrics: got {list(self.metrics)}, allowed: at least one, each of them once"
            )
        if self.composite is not None and not set(self.composite) <= set(self.metrics):
            raise ValueError(
                f"composite: got {list(self.composite)}, allowed: those of metrics, "
                f"{', '.join(self.metrics)}, or null"
            )

    @property
    def compared(self) -> tuple[str, ...]:
        """Metrics of the composite score."""
        return self.metrics if self.composite is None else self.composite

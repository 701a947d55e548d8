"""Settings of a training: section `train` of a profile, and that of one variant and seed."""

import math
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from omgsr.core.settings import Count, Positive, Weight, Whole, section
from omgsr.evaluation.settings import Metrics
from omgsr.method.settings import Loss, ObjectiveSettings

Optimiser = Literal["adamw", "adamw8bit"]


@section
class Validation:
    """Scores on a part of the training set that is not trained on; never on a benchmark."""

    images: Count
    """HQ images held out, with all their pairs; spread evenly over the set."""
    pairs: Count
    """Pairs of these images that are restored each time."""
    every: Count
    """Steps between two validations; the last step is always one."""
    metrics: Metrics
    """PyIQA names."""


@section
class Train(ObjectiveSettings):
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
    optimiser: Optimiser
    """AdamW of torch, or with 8-bit moments of bitsandbytes."""
    weight_decay: Weight
    ema: Annotated[float, Field(gt=0, le=0.99999)] | None
    """Decay of the averaged adapters, which are then the result; null keeps no average."""
    clip_grad: Positive | None
    """Largest gradient norm; null leaves gradients as they are."""
    gradient_checkpointing: bool
    """Compute activations a second time instead of keeping them: less memory, more time."""
    encoder_rank: Count
    """LoRA rank in the VAE encoder."""
    unet_rank: Count
    """LoRA rank in the denoiser."""
    latent: Literal["mode", "sample"]
    """What stands for a latent: the mode of the VAE's posterior, or a sample of it."""
    spectral_norm: bool
    """Spectral normalisation of the heads' convolutions."""
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
    balance: dict[Loss, Weight] = field(default_factory=dict)
    """Factors on the weights of a variant's losses, where features or model are others than those
    that the weights were found with; a loss that is not named keeps its own."""
    shard: bool = False
    """Frozen weights of the denoiser spread over the processes (FSDP2), where one GPU cannot hold
    them; the adapters are the same to rounding."""

    def __post_init__(self) -> None:
        metrics = self.validation.metrics if self.validation else ()
        if self.final not in ("last", *metrics):
            raise ValueError(
                f"final: got {self.final!r}, allowed: last"
                + "".join(f", {name}" for name in metrics)
                + ("" if metrics else "; a metric needs `validation`")
            )


@section
class Settings(Train):
    """The section for one variant and one seed: what the trainer goes by."""

    losses: dict[str, Weight]
    """Weight of every generator term (Eq. 13); `gan` also weighs Eq. 15."""
    seed: Whole
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

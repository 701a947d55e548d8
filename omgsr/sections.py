"""Models, training, inference and scores: sections of the configuration as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, NamedTuple

from omgsr.core.build import OneOf, Range
from omgsr.evaluation.metric_table import metric_table

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Weight = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
Timestep = Literal["auto"] | Annotated[int, Range(1, 999)]
Loss = Literal["lrr", "to_hq", "gan", "dv3cd", "lpips", "ssim", "l1", "l2", "vsd"]
MetricName = Annotated[str, OneOf("metric", metric_table)]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train: a row of the paper's ablation tables."""

    losses: dict[Loss, Weight]
    """Weight of every loss term in use, 0 or more (Eq. 13)."""

    def __post_init__(self) -> None:
        if not any(self.losses.values()):
            raise ValueError("a variant needs a loss with a weight above 0")


class Run(NamedTuple):
    """One training of a sweep or an ablation."""

    variant: str
    """Name of its losses."""
    t: str
    """`auto` or a number, as in sweep.timesteps."""
    seed: int
    """Of its fresh weights, order and noise."""

    @property
    def name(self) -> str:
        """Its folder below runs/, and what DVC calls its stages: <stage>@<name>."""
        return f"{self.variant}-{self.t}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The runs of a pipeline, every variant at every timestep with every seed; methods beside."""

    variants: tuple[str, ...]
    """Names out of `variants`."""
    timesteps: tuple[Timestep, ...]
    """`auto` for the t* that the timestep stage computes, or 1..999."""
    seeds: tuple[Whole, ...]
    """Seeds of training: fresh weights, order and noise; data and t* have the root `seed`."""
    methods: tuple[str, ...]
    """Names out of `methods`; may be empty."""

    def __post_init__(self) -> None:
        _check_axes(self, methods=0)

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, in the order of the axes."""
        return _runs(self)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """A comparison of runs that one command makes: every variant at every timestep, every seed."""

    title: str
    """What is compared."""
    variants: tuple[str, ...]
    """Names out of `variants`."""
    timesteps: tuple[Timestep, ...]
    """`auto` or 1..999."""
    seeds: tuple[Whole, ...]
    """Seeds of training; several of them give a spread."""
    table: Literal[1, 2, 4, 5] | None = None
    """The paper's table that it repeats."""
    limits: tuple[str, ...] = ()
    """What its result does not show, a sentence each."""

    def __post_init__(self) -> None:
        _check_axes(self)

    @property
    def axes(self) -> tuple[tuple[str, ...], tuple[str | int, ...], tuple[int, ...]]:
        """Variants, timesteps and seeds."""
        return self.variants, self.timesteps, self.seeds

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, in the order of the axes."""
        return _runs(self)


def _check_axes(section: Sweep | Ablation, **others: int) -> None:
    for name, least in {"variants": 1, "timesteps": 1, "seeds": 1, **others}.items():
        values = getattr(section, name)
        if len(values) < least or len(set(values)) < len(values):
            some = "at least one, " if least else ""
            raise ValueError(f"{name}: got {list(values)}, allowed: {some}each of them once")


def _runs(section: Sweep | Ablation) -> tuple[Run, ...]:
    axes = section.variants, map(str, section.timesteps), section.seeds
    return tuple(Run(*one) for one in product(*axes))


@dataclass(frozen=True, kw_only=True)
class Features:
    """The frozen ConvNeXt of Dv3CD and the discriminator (Eqs. 8 to 11)."""

    name: str
    """timm model name."""
    path: str | None
    """Weights on this machine; null takes those of the foundation folder or of timm."""


@dataclass(frozen=True, kw_only=True)
class FoundationTraining:
    """How a small foundation model is trained from scratch."""

    image_size: Count
    """Side of the crops, pixels."""
    dead_leaves: Whole
    """Generated images beside the packaged photographs of data.train."""
    vae_steps: Count
    """Optimiser steps of the autoencoder."""
    unet_steps: Count
    """Optimiser steps of the denoiser."""
    feature_steps: Count
    """Optimiser steps of the feature network."""
    vae_batch: Count
    """Crops a step, autoencoder."""
    unet_batch: Count
    """Crops a step, denoiser."""
    feature_batch: Count
    """Crops a step, feature network."""
    vae_lr: Positive
    """AdamW learning rate, autoencoder."""
    unet_lr: Positive
    """AdamW learning rate, denoiser."""
    feature_lr: Positive
    """AdamW learning rate, feature network."""


@dataclass(frozen=True, kw_only=True)
class Foundation:
    """The pre-trained latent diffusion model."""

    backbone: Literal["mini", "sd15", "sd21-base", "sd21-768", "sd"]
    """Name of the model (models/catalogue.py); `sd` is any other of its classes, unchecked."""
    source: Literal["shipped", "train", "folder", "hub"]
    """In the package, trained here, a local folder, or a hub id at a pinned revision."""
    path: str | None
    """Folder (`folder`) or hub id (`hub`); null otherwise."""
    revision: str | None
    """Commit of the hub id; null otherwise."""
    prompt: str
    """The one prompt of training and inference."""
    timestep_origin: Literal[0, 1]
    """Number of the schedule's first timestep: 1 as in the paper (alpha_bar_t is the product up to
    beta_t, Sec. 3.1), 0 as in diffusers and the official code."""
    features: Features
    """The feature network."""
    training: FoundationTraining | None
    """Needed by `source: train`."""
    obtain: str = ""
    """Where the model can be had; shown while the path is null."""

    def __post_init__(self) -> None:
        if self.source == "train" and self.training is None:
            raise ValueError("training: null, but `source: train` needs it")
        if self.source == "hub" and self.path is not None and self.revision is None:
            raise ValueError("revision: null, but `source: hub` needs the commit to pin")

"""The sections of params.yaml and configs/<profile>.yaml as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from omgsr._build import OneOf, Range
from omgsr._pyiqa import metric_table
from omgsr.photographs import PHOTOGRAPHS

Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Positive = Annotated[float, Range(0, above=True)]
Weight = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
Timestep = Literal["auto"] | Annotated[int, Range(1, 999)]
Loss = Literal["lrr", "to_hq", "gan", "dv3cd", "l1"]
PhotographName = Annotated[str, OneOf("photograph", lambda: PHOTOGRAPHS)]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to train: a row of the paper's ablation tables."""

    losses: dict[Loss, Weight]
    """Weight of every loss term in use, 0 or more (Eq. 13)."""

    def __post_init__(self) -> None:
        if not any(self.losses.values()):
            raise ValueError("a variant needs a loss with a weight above 0")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The runs of one pipeline: every variant at every timestep."""

    variants: tuple[str, ...]
    """Names out of `variants`."""
    timesteps: tuple[Timestep, ...]
    """`auto` for the t* that the timestep stage computes, or 1..999."""

    def __post_init__(self) -> None:
        for name in ("variants", "timesteps"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"{name}: got {list(values)}, allowed: at least one, each of them once"
                )


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder of images on this machine; a plain text in the YAML stands for its path."""

    path: str | None
    """Absolute, or relative to the repository; null is refused until it is filled in."""
    first: Count | None = None
    """Take only the first so many images in sorted order; null takes all."""
    obtain: str = ""
    """Where the data can be had; shown while the path is null."""

    @classmethod
    def from_text(cls, text: str) -> Folder:
        """A folder that is given by its path alone."""
        return cls(path=text)


@dataclass(frozen=True, kw_only=True)
class Images:
    """Where the images of one set come from; the parts are added up."""

    photographs: tuple[PhotographName, ...] = ()
    """Names out of omgsr/photographs.py."""
    dead_leaves: Whole = 0
    """Number of generated dead-leaves images."""
    folders: tuple[Folder, ...] = ()
    """Folders of image files, searched at every depth."""

    def __post_init__(self) -> None:
        if not (self.photographs or self.dead_leaves or self.folders):
            raise ValueError("names no image: give photographs, dead_leaves or folders")
        if len(set(self.photographs)) < len(self.photographs):
            raise ValueError(f"photographs: each name once, got {list(self.photographs)}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training pairs."""

    train: Images
    """The HQ images."""
    crop: Count
    """HQ side of a training pair, pixels; a multiple of `scale`."""
    crops_per_image: Count
    """Pairs made from every HQ image."""
    scale: Annotated[int, Range(1, 16)]
    """HQ side over LQ side, for training and benchmarks."""
    degradation: str
    """Name out of `degradation` in params.yaml."""

    def __post_init__(self) -> None:
        if self.crop % self.scale:
            raise ValueError(f"crop: got {self.crop}, allowed: a multiple of scale {self.scale}")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One test set: HQ images to degrade, or LQ images as they are."""

    hq: Images | None = None
    """HQ images; null for a set that exists as LQ alone."""
    lq: Images | None = None
    """LQ images that exist already; null where `degradation` makes them."""
    crop: Count | None
    """Side of the centre crop of the HQ before degradation, pixels; null takes the whole image."""
    degradation: str | None
    """Name out of `degradation` in params.yaml; null when `lq` is given."""
    paired: bool
    """Whether the HQ image is kept as the reference of the scores."""

    def __post_init__(self) -> None:
        if self.lq is None and (self.hq is None or self.degradation is None):
            raise ValueError("give `lq`, or `hq` with the `degradation` that makes LQ from it")
        if self.lq is not None:
            if self.degradation is not None or self.crop is not None:
                raise ValueError("LQ images exist already: crop and degradation must be null")
            if any(part.photographs or part.dead_leaves for part in (self.lq, self.hq) if part):
                raise ValueError("a set with `lq` takes its images from folders alone")
            if self.paired != (self.hq is not None):
                raise ValueError("with `lq`, `paired: true` needs `hq` and `paired: false` none")


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

    backbone: Literal["sd"]
    """Family of the model."""
    source: Literal["shipped", "train", "folder", "hub"]
    """In the package, trained here, a local folder, or a hub id at a pinned revision."""
    path: str | None
    """Folder (`folder`) or hub id (`hub`); null otherwise."""
    revision: str | None
    """Commit of the hub id; null otherwise."""
    prompt: str
    """The one prompt of training and inference."""
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


@dataclass(frozen=True, kw_only=True)
class TimestepSection:
    """How t* is computed (Eqs. 5 and 19)."""

    images: Count | None
    """Training pairs to use; null uses all."""
    batch: Count
    """Pairs encoded at once; does not change the result."""
    latent: Literal["mode", "sample"]
    """What stands for a latent: the mode of the VAE's posterior, or a sample of it."""
    bootstrap: Count
    """Resamplings behind the interval."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Fine-tuning of the adapters and the discriminator."""

    steps: Count
    """Optimiser steps."""
    batch: Count
    """Pairs of one forward pass."""
    accumulate: Count
    """Forward passes of one optimiser step."""
    lr: Positive
    """AdamW learning rate of both networks."""
    weight_decay: Weight
    """AdamW weight decay."""
    encoder_rank: Count
    """LoRA rank in the VAE encoder."""
    unet_rank: Count
    """LoRA rank in the denoiser."""
    latent: Literal["mode", "sample"]
    """What stands for a latent: the mode of the VAE's posterior, or a sample of it."""
    real_label: Annotated[float, Range(0, 1, above=True)]
    """Label of real images, in (0, 1]."""
    crop: Count | None
    """HQ side, pixels; null trains on whole pairs."""
    clip_grad: Positive | None
    """Largest gradient norm; null leaves gradients as they are."""
    checkpoint_every: Count
    """Steps between checkpoints."""
    log_every: Count
    """Steps between rows of history.csv."""
    preview_every: Count
    """Steps between preview pictures."""
    num_workers: Whole
    """Processes that load pairs; 0 loads in the training process."""


@dataclass(frozen=True, kw_only=True)
class Infer:
    """Restoration of the benchmarks."""

    batch: Count
    """Images of one size restored at once."""
    color: Literal["adain", "wavelet", "none"]
    """How colours are aligned with the LQ image."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """Metrics over the restored benchmarks."""

    metrics: tuple[Annotated[str, OneOf("metric", metric_table)], ...]
    """PyIQA names; full-reference ones run where a benchmark is paired."""
    crop_border: Whole
    """Pixels left out at every edge."""

    def __post_init__(self) -> None:
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError(
                f"metrics: got {list(self.metrics)}, allowed: at least one, each of them once"
            )

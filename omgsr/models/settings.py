"""Settings of the pre-trained models: section `foundation` of a profile."""

from typing import Literal

from omgsr.core.settings import Count, Positive, Whole, section

SMALL = "convnext_atto"
"""The feature network that `source: train` trains; the package carries one that it trained."""
SHIPPED = {SMALL: "mini/features", "tf_efficientnet_lite0": "features/efficientnet_lite0"}
"""Feature networks that the package carries: name => folder below omgsr/assets."""


@section
class Features:
    """The frozen network of Dv3CD and the discriminator (Eqs. 8 to 11)."""

    name: str
    """timm model name: a ConvNeXt, as the paper's, or an EfficientNet."""
    path: str | None
    """Weights on this machine; null takes the package's with a small model, else those of timm."""
    scale: Literal["own", "unit"] = "own"
    """What the discriminator's heads see: F^1..F^3 as the network gives them, as in the paper, or
    each divided by its standard deviation over photographs. Dv3CD sees them as they are."""

    @property
    def departure(self) -> str:
        """How this is not the paper's, in words; empty where it is a ConvNeXt as it is."""
        return departure(self.name, self.scale == "unit")


def departure(name: str, scaled: bool) -> str:
    """How the network `name`, `scaled` for the heads or not, is not what the paper has."""
    other = "" if name.startswith("convnext") else f"{name} in place of a DINOv3-ConvNeXt"
    divided = "levels of unit variance for the discriminator" if scaled else ""
    return ", ".join(filter(None, (other, divided)))


@section
class FoundationTraining:
    """How a small foundation model is trained."""

    image_size: Count
    """Side of the crops, pixels."""
    dead_leaves: Whole
    """Generated images beside the packaged photographs of data.train."""
    # Optimiser steps of the autoencoder, the denoiser and the feature network; 0 of the first or
    # the last takes the one that the package carries.
    vae_steps: Whole
    denoiser_steps: Count
    feature_steps: Whole
    # Crops a step.
    vae_batch: Count
    denoiser_batch: Count
    feature_batch: Count
    # Largest learning rate of AdamW.
    vae_lr: Positive
    denoiser_lr: Positive
    feature_lr: Positive
    start: Literal["fresh", "shipped"] = "fresh"
    """Random weights, or those that the package carries, which are then trained further."""
    photographs: str | None = None
    """Folder where the packages of omgsr/data/wallpapers.csv are unpacked, whose photographs are
    trained on beside those of data.train; null for none."""


@section
class Foundation:
    """The pre-trained latent diffusion model."""

    backbone: Literal[
        "mini", "mini_flow", "sd15", "sd21-base", "sd21-768", "sd", "flux1-dev", "sd35-medium",
        "sd35-large", "qwen-image", "z-image",
    ]  # fmt: skip
    """Name of the model (models/catalogue.py); `sd` is any other Stable Diffusion, unchecked."""
    source: Literal["shipped", "train", "folder", "hub"]
    """In the package, trained here, a local folder, or a hub id at a pinned revision."""
    path: str | None
    """Folder (`folder`) or hub id (`hub`); null otherwise."""
    revision: str | None
    """Commit of the hub id; null otherwise."""
    prompt: str
    """The one prompt of training and inference; what a ready file was made from, where one is."""
    timestep_origin: Literal[0, 1]
    """Number of the schedule's first timestep: 1 as in the paper (alpha_bar_t is the product up to
    beta_t, Sec. 3.1), 0 as in diffusers and the official code."""
    features: Features
    training: FoundationTraining | None
    """Needed by `source: train`."""
    resolution: Count | None = None
    """Side of an image, pixels, that fixes the noise schedule of FLUX.1-dev or Qwen-Image whatever
    the size of an image; null where the schedule depends on no size."""
    prompt_file: str | None = None
    """A ready prompt.safetensors, in place of the model's text encoders."""
    quantise: Literal["nf4"] | None = None
    """Frozen weights of the denoiser's blocks in 4 bits (QLoRA), in training and inference: an
    eighth of the memory of fp32, a quarter of bf16; null keeps them as `train.precision` says."""
    obtain: str = ""
    """Where the model can be had; shown while the path is null."""

    def __post_init__(self) -> None:
        if self.source == "train" and self.training is None:
            raise ValueError("training: null, but `source: train` needs it")
        if self.source == "hub" and self.path is not None and self.revision is None:
            raise ValueError("revision: null, but `source: hub` needs the commit to pin")
        if self.source not in ("shipped", "train"):
            return
        name, steps = self.features.name, self.training.feature_steps if self.training else 0
        if self.source == "train" and steps and name != SMALL:
            raise ValueError(
                f"training.feature_steps: got {steps}, but features.name is {name}, which is not "
                f"trained here; set it to 0, or the name to {SMALL}"
            )
        if self.features.path is None and name not in SHIPPED:
            raise ValueError(
                f"features.name: got {name}, which the package does not carry; allowed with "
                f"`source: {self.source}`: {', '.join(SHIPPED)}, or set features.path"
            )

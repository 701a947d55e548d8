"""The small networks of the real classes: how they are built, and where the shipped ones are."""

from pathlib import Path
from typing import Any

import timm
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file
from torch import nn

from omgsr.core import files
from omgsr.models.backbones.base import Backbone
from omgsr.models.prompt import EMBEDDING
from omgsr.models.text_encoders import Tensors

WEIGHTS = "diffusion_pytorch_model.safetensors"
ASSETS = Path(__file__).parents[1] / "assets"
MINI = ASSETS / "mini"
"""The small model that the package carries; its configurations are those of what is trained.
`mini_flow` beside it has a denoiser, a scheduler and a prompt of its own, and the VAE of `mini`."""
FEATURES: dict[str, Any] = files.read_json(MINI / "features" / "config.json")
"""The small ConvNeXt of the pretext, in the form that features.load reads; its mean and std bring
inputs in [0, 1] to [-1, 1], as the pretext saw them."""
PROMPTS: dict[str, dict[str, tuple[int, ...]]] = {
    "mini": {"prompt": (1, 4, 32)},
    "mini_flow": {"pooled": (1, 32), "sequence": (1, 4, 32)},
}
"""Shapes of the one prompt's embedding that a small denoiser knows."""


def small_vae(shipped: bool = False) -> AutoencoderKL:
    """1.6 M weights, random or `shipped` ones; (B, 3, H, W) => (B, 8, H/4, W/4)."""
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(MINI / "model" / "vae"))
    if shipped:
        vae.load_state_dict(load_file(MINI / "model" / "vae" / WEIGHTS))
        return vae
    # A posterior that starts with a standard deviation of 0.05 instead of 1 learns at once.
    nn.init.constant_(vae.quant_conv.bias[vae.config.latent_channels :], -6.0)
    return vae


def small_denoiser(name: str, family: type[Backbone], shipped: bool = False) -> Any:
    """`mini`: a UNet of 3.0 M weights; `mini_flow`: a transformer of FLUX's class, 3.9 M.

    Both are over latents (B, 8, h, w), in the configurations that the package carries, with random
    weights or the `shipped` ones.
    """
    kind, folder = family.denoiser_class, ASSETS / name / "model" / family.denoiser_folder
    denoiser = kind.from_config(kind.load_config(folder))
    if shipped:
        denoiser.load_state_dict(load_file(folder / WEIGHTS))
    return denoiser


def small_prompt(name: str, shipped: bool = False) -> Tensors:
    """The embedding of the one prompt: there is no text.

    Random, from torch's own generator, or the `shipped` one, which the shipped denoiser knows.
    """
    if shipped:
        return load_file(ASSETS / name / EMBEDDING)
    return {part: torch.randn(shape) for part, shape in PROMPTS[name].items()}


def small_features() -> nn.Module:
    """0.4 M weights; stages of 24, 48 and 96 channels, and a last one for the pretext alone."""
    return timm.create_model(FEATURES["architecture"], num_classes=0, **FEATURES["arguments"])

"""OMGSR-S at its true size, and very small, with random weights: for benchmarks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

from omgsr.method.generator import Generator
from omgsr.models import feature_levels
from omgsr.models.backbones.stable_diffusion import StableDiffusion
from omgsr.models.schedule import NoiseSchedule

T = 273
SCHEDULE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "clip_sample": False,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Configurations as in the checkpoints' own config.json."""

    unet: dict[str, Any]
    vae: dict[str, Any]
    convnext: str
    convnext_arguments: dict[str, Any] = field(default_factory=dict)
    encoder_rank: int
    unet_rank: int


FULL = Sizes(
    unet={
        "sample_size": 64, "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
        "block_out_channels": (320, 640, 1280, 1280), "attention_head_dim": (5, 10, 20, 20),
        "cross_attention_dim": 1024, "use_linear_projection": True,
        "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    },
    vae={
        "sample_size": 768, "in_channels": 3, "out_channels": 3, "latent_channels": 4,
        "layers_per_block": 2, "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "scaling_factor": 0.18215,
    },
    convnext="convnext_large.dinov3_lvd1689m", encoder_rank=16, unet_rank=32,
)  # fmt: skip
TINY = Sizes(
    unet={
        **FULL.unet, "layers_per_block": 1, "block_out_channels": (32, 32),
        "attention_head_dim": 8, "cross_attention_dim": 16,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    },
    vae={
        **FULL.vae, "layers_per_block": 1, "block_out_channels": (32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
    },
    convnext="convnext_atto",
    convnext_arguments={"depths": [1, 1, 1, 1], "dims": [8, 12, 16, 8]},
    encoder_rank=2, unet_rank=3,
)  # fmt: skip
COUNTS = {"encoder adapter": 1.48, "UNet adapter": 25.26}
"""Millions of weights at the true size."""


def build(sizes: Sizes) -> Generator:
    """The generator with random weights and fresh adapters, on the CPU."""
    backbone = StableDiffusion(
        vae=autoencoder(sizes),
        denoiser=_materialised(lambda: UNet2DConditionModel(**sizes.unet)),
        schedule=NoiseSchedule.from_ddpm(DDPMScheduler(**SCHEDULE)),
        prompt={"prompt": torch.randn(1, 77, sizes.unet["cross_attention_dim"])},
        shift=0.0,
        scale=sizes.vae["scaling_factor"],
    )
    generator = Generator(backbone, T)
    generator.add_adapters(sizes.encoder_rank, sizes.unet_rank, seed=0)
    return generator


def autoencoder(sizes: Sizes) -> Any:
    """The VAE, with random weights."""
    return _materialised(lambda: AutoencoderKL(**sizes.vae))


def convnext(sizes: Sizes) -> Any:
    """The levels of a timm ConvNeXt that are used, with random weights."""
    return _materialised(
        lambda: feature_levels.prune(
            timm.create_model(
                sizes.convnext, pretrained=False, num_classes=0, **sizes.convnext_arguments
            )
        )
    )


def _materialised(make: Callable[[], Any]) -> Any:
    """A network filled in place: the usual initialisation of every layer takes far longer."""
    with torch.device("meta"):
        made = make()
    made.to_empty(device="cpu")
    with torch.no_grad():
        for name, p in made.named_parameters():
            if p.ndim > 1:
                p.uniform_(-1, 1).mul_(1 / math.sqrt(p[0].numel()))
            else:
                p.fill_(0.1 if name.endswith("gamma") else float(name.endswith("weight")))
    return made.requires_grad_(False).eval()


def statistics() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that timm's networks take."""
    return timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD

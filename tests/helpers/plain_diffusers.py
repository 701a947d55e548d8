"""The families as the pipelines of diffusers call them, written without a line of omgsr."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from torch import Tensor

Prompt = dict[str, Tensor]


@dataclass
class Model:
    """A transformer and an AutoencoderKL, with its latents as pipelines normalise them."""

    transformer: Any
    vae: Any

    def encode(self, x: Tensor) -> Tensor:
        raw = self.vae.encode(x).latent_dist.mode()
        return (raw - self.vae.config.shift_factor) * self.vae.config.scaling_factor

    def decode(self, z: Tensor) -> Tensor:
        config = self.vae.config
        return self.vae.decode(z / config.scaling_factor + config.shift_factor).sample


class Flux(Model):
    """FluxPipeline.__call__, with guidance 1 and its static helpers."""

    def velocity(self, z: Tensor, sigma: float, prompt: Prompt) -> Tensor:
        count, channels, height, width = z.shape
        out = self.transformer(
            hidden_states=FluxPipeline._pack_latents(z, count, channels, height, width),
            timestep=torch.full((count,), sigma),
            guidance=torch.ones(count),
            pooled_projections=prompt["pooled"].repeat(count, 1),
            encoder_hidden_states=prompt["sequence"].repeat(count, 1, 1),
            txt_ids=torch.zeros(prompt["sequence"].shape[1], 3),
            img_ids=FluxPipeline._prepare_latent_image_ids(
                count, height // 2, width // 2, torch.device("cpu"), torch.float32
            ),
            return_dict=False,
        )[0]
        return FluxPipeline._unpack_latents(out, height * 8, width * 8, 8)


class StableDiffusion3(Model):
    """StableDiffusion3Pipeline.__call__ without guidance: timestep = 1000 sigma."""

    def velocity(self, z: Tensor, sigma: float, prompt: Prompt) -> Tensor:
        count = len(z)
        return self.transformer(
            hidden_states=z,
            timestep=torch.full((count,), sigma) * 1000,
            encoder_hidden_states=prompt["sequence"].repeat(count, 1, 1),
            pooled_projections=prompt["pooled"].repeat(count, 1),
            return_dict=False,
        )[0]


class QwenImage(Model):
    """QwenImagePipeline.__call__ without guidance, its VAE over one frame of a video."""

    def _statistics(self) -> tuple[Tensor, Tensor]:
        config = self.vae.config
        return tuple(
            torch.tensor(values).view(1, -1, 1, 1, 1)
            for values in (config.latents_mean, config.latents_std)
        )  # type: ignore[return-value]

    def encode(self, x: Tensor) -> Tensor:
        mean, std = self._statistics()
        return ((self.vae.encode(x[:, :, None]).latent_dist.mode() - mean) / std)[:, :, 0]

    def decode(self, z: Tensor) -> Tensor:
        mean, std = self._statistics()
        return self.vae.decode(z[:, :, None] * std + mean).sample[:, :, 0]

    def velocity(self, z: Tensor, sigma: float, prompt: Prompt) -> Tensor:
        count, channels, height, width = z.shape
        out = self.transformer(
            hidden_states=QwenImagePipeline._pack_latents(z, count, channels, height, width),
            timestep=torch.full((count,), sigma),
            encoder_hidden_states=prompt["sequence"].repeat(count, 1, 1),
            encoder_hidden_states_mask=torch.ones(count, prompt["sequence"].shape[1]),
            img_shapes=[[(1, height // 2, width // 2)]] * count,
            return_dict=False,
        )[0]
        return QwenImagePipeline._unpack_latents(out, height * 8, width * 8, 8)[:, :, 0]


class ZImage(Model):
    """ZImagePipeline.__call__ without guidance."""

    def velocity(self, z: Tensor, sigma: float, prompt: Prompt) -> Tensor:
        time = (1000 - torch.full((len(z),), sigma) * 1000) / 1000
        given = [prompt["sequence"][0]] * len(z)
        out = self.transformer(list(z.unsqueeze(2).unbind(0)), time, given, return_dict=False)[0]
        return -torch.stack([one.float() for one in out]).squeeze(2)


KINDS: dict[str, tuple[type[Model], Any, Any]] = {
    "flux1-dev": (Flux, FluxTransformer2DModel, AutoencoderKL),
    "sd35-medium": (StableDiffusion3, SD3Transformer2DModel, AutoencoderKL),
    "sd35-large": (StableDiffusion3, SD3Transformer2DModel, AutoencoderKL),
    "qwen-image": (QwenImage, QwenImageTransformer2DModel, AutoencoderKLQwenImage),
    "z-image": (ZImage, ZImageTransformer2DModel, AutoencoderKL),
}


def load(kind: str, folder: Path) -> Any:
    """The networks of a model folder behind encode, velocity and decode."""
    made, transformer, vae = KINDS[kind]
    return made(
        transformer.from_pretrained(folder / "transformer").eval(),
        vae.from_pretrained(folder / "vae").eval(),
    )

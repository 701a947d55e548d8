"""The families as the pipelines of diffusers call them, written without a line of omgsr."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FluxPipeline, FluxTransformer2DModel, SD3Transformer2DModel
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


KINDS: dict[str, tuple[type[Model], Any, Any]] = {
    "flux1-dev": (Flux, FluxTransformer2DModel, AutoencoderKL),
    "sd35-medium": (StableDiffusion3, SD3Transformer2DModel, AutoencoderKL),
    "sd35-large": (StableDiffusion3, SD3Transformer2DModel, AutoencoderKL),
}


def load(kind: str, folder: Path) -> Any:
    """The networks of a model folder behind encode, velocity and decode."""
    made, transformer, vae = KINDS[kind]
    return made(
        transformer.from_pretrained(folder / "transformer").eval(),
        vae.from_pretrained(folder / "vae").eval(),
    )

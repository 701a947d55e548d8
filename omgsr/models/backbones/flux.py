"""FLUX.1-dev, the base of OMGSR-F (Sec. 6.1)."""

from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor

from omgsr.models import text_encoders
from omgsr.models.backbones.flow_matching import JOINT_ATTENTION, FlowMatching, packed, unpacked
from omgsr.models.schedule import Timestep
from omgsr.models.text_encoders import Embedding, Tensors

GUIDANCE = 1.0
"""What the guidance-distilled network is told, in training and inference."""
TOKENS = 512
"""Of T5's sequence, padding included."""


def _embed(model: Path, text: str) -> Tensors:
    """CLIP's pooled state (1, 768), then T5's sequence (1, 512, 4096)."""
    pooled = text_encoders.clip(model, text).pooler_output
    return {"pooled": pooled, "sequence": text_encoders.t5(model, text, "text_encoder_2", TOKENS)}


class Flux(FlowMatching):
    """AutoencoderKL of 16 channels + FluxTransformer2DModel.

    Its table has 999 steps, shifted for one resolution: at 1024 px the paper's t* = 244 is sigma
    0.50511, whatever the size of an image.
    """

    denoiser_class = FluxTransformer2DModel
    # Of the single-stream blocks the attention alone, as in the official training.
    denoiser_targets = (
        "x_embedder", *JOINT_ATTENTION,
        "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
    )  # fmt: skip
    adapter_folders = (
        *FlowMatching.adapter_folders,
        ("vae_encoder_adapter", "flux_adapter"),  # the official release of OMGSR-F
    )
    embedding = Embedding(
        names=("pooled", "sequence"), encoders=("text_encoder", "text_encoder_2"), compute=_embed
    )
    steps = 999

    def predict(self, z_t: Tensor, t: Timestep) -> Tensor:
        """The v of the transformer at sigma_t, guidance 1: (B, C, h, w) => (B, C, h, w)."""
        prompt, sigma = self.prompts(z_t), self.sigma(z_t, t)
        height, width = z_t.shape[2:]
        tokens: Any = self.denoiser(
            hidden_states=packed(z_t),
            timestep=sigma,
            guidance=torch.full_like(sigma, GUIDANCE),
            pooled_projections=prompt["pooled"],
            encoder_hidden_states=prompt["sequence"],
            txt_ids=torch.zeros(prompt["sequence"].shape[1], 3, device=z_t.device),
            img_ids=_places(height // 2, width // 2, z_t.device),
        ).sample
        return unpacked(tokens, height, width)


class MiniFlow(Flux):
    """The small model of the same class over mini's VAE: 2 x 2 latents of 4 x 4 pixels are a token.

    Its single-stream blocks are adapted whole, and so is its last layer, as all of `mini` is: few
    channels leave adapters little to work with.
    """

    denoiser_targets = (*Flux.denoiser_targets, "proj_mlp", "proj_out")
    resolution = 96


def _places(rows: int, columns: int, device: torch.device) -> Tensor:
    """(0, row, column) of every token: (rows columns, 3)."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], 2).flatten(0, 1).to(device).float()

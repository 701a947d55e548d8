"""Z-Image, which counts time from noise to image: it is asked with 1 - sigma and gives -v."""

from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor

from omgsr.models import text_encoders
from omgsr.models.backbones.flow_matching import FlowMatching
from omgsr.models.schedule import Timestep
from omgsr.models.text_encoders import Embedding, Tensors

LONGEST = 512
"""Tokens of a prompt, its chat template included."""


def _embed(model: Path, text: str) -> Tensors:
    """Last layer but one of Qwen3 for the prompt as a user says it: (1, tokens, 2560)."""
    whole = text_encoders.language_model(model, text, "AutoModel", -2, chat=True)
    return {"sequence": whole[:, :LONGEST]}


class ZImage(FlowMatching):
    """AutoencoderKL of FLUX + ZImageTransformer2DModel."""

    denoiser_class = ZImageTransformer2DModel
    denoiser_targets = (
        "all_x_embedder.2-1",
        "attention.to_q", "attention.to_k", "attention.to_v", "attention.to_out.0",
        "feed_forward.w1", "feed_forward.w2", "feed_forward.w3",
    )  # fmt: skip
    embedding = Embedding(names=("sequence",), encoders=("text_encoder",), compute=_embed)

    def predict(self, z_t: Tensor, t: Timestep) -> Tensor:
        """The v, the network's output with its sign turned: (B, C, h, w) => (B, C, h, w)."""
        frames = self.denoiser(
            list(z_t[:, :, None]), 1 - self.sigma(z_t, t), list(self.prompts(z_t)["sequence"])
        ).sample
        return -torch.stack(list(frames))[:, :, 0]

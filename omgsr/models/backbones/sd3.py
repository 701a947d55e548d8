"""Stable Diffusion 3.5 medium and large, which differ in their configurations alone."""

from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from torch import Tensor

from omgsr.core import files
from omgsr.models import text_encoders
from omgsr.models.backbones.flow_matching import JOINT_ATTENTION, FlowMatching
from omgsr.models.schedule import Timestep
from omgsr.models.text_encoders import Embedding, Tensors

TOKENS = 256
"""Of T5's part of the sequence, which follows CLIP's 77."""
_CLIPS = ("text_encoder", "text_encoder_2")
_T5 = "text_encoder_3"


def _embed(model: Path, text: str) -> Tensors:
    """Both CLIPs' projections (1, 2048); their last layers but one, then T5's (1, 333, 4096).

    Where a model folder has no T5, zeros stand for it, as the authors allow.
    """
    pooled, hidden = [], []
    for encoder in _CLIPS:
        found = text_encoders.clip(model, text, encoder, "CLIPTextModelWithProjection")
        pooled.append(found.text_embeds)
        hidden.append(found.hidden_states[-2])
    width = int(files.read_json(model / "transformer" / "config.json")["joint_attention_dim"])
    both = torch.cat(hidden, 2)
    both = F.pad(both, (0, width - both.shape[2]))
    t5 = torch.zeros(1, TOKENS, width)
    if (model / _T5).is_dir():
        t5 = text_encoders.t5(model, text, _T5, TOKENS).float()
    return {"pooled": torch.cat(pooled, 1), "sequence": torch.cat([both, t5], 1)}


class StableDiffusion3(FlowMatching):
    """AutoencoderKL of 16 channels + SD3Transformer2DModel, shift 3 at every size.

    Positions are cropped from the middle of a table: an image larger than that is tiled.
    """

    denoiser_class = SD3Transformer2DModel
    # `attn2` is the second attention of medium's first blocks.
    denoiser_targets: ClassVar[tuple[str, ...]] = (
        "pos_embed.proj", *JOINT_ATTENTION,
        "attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0",
        "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj", "ff_context.net.2",
    )  # fmt: skip
    embedding = Embedding(
        names=("pooled", "sequence"), encoders=(*_CLIPS, _T5), compute=_embed, optional=(_T5,)
    )

    def predict(self, z_t: Tensor, t: Timestep) -> Tensor:
        """The v of the transformer at 1000 sigma_t: (B, C, h, w) => (B, C, h, w)."""
        prompt = self.prompts(z_t)
        return self.denoiser(
            hidden_states=z_t,
            timestep=1000 * self.sigma(z_t, t),
            pooled_projections=prompt["pooled"],
            encoder_hidden_states=prompt["sequence"],
        ).sample

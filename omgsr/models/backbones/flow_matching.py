"""What the families of flow matching share: a transformer over latents cut into patches of 2 x 2.

z_t = (1 - sigma) z + sigma eps, v = eps - z (Eqs. 16 and 17).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from omgsr.core import files
from omgsr.models.backbones.base import Backbone
from omgsr.models.flow_table import FlowTable
from omgsr.models.schedule import NoiseSchedule, Timestep

PATCH = 2
"""Side of a token, latents."""
JOINT_ATTENTION = tuple(
    f"attn.{name}"
    for name in (
        "to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out",
    )
)  # fmt: skip
"""Projections of an attention over the tokens of image and text."""


class FlowMatching(Backbone):
    """A transformer that predicts v at sigma; the scheduler is FlowMatchEulerDiscreteScheduler."""

    denoiser_folder = "transformer"
    adapter_folders: ClassVar[tuple[tuple[str, str], ...]] = (
        ("vae_encoder_lora_adapter", "transformer_lora_adapter"),
    )
    resolution = 1024
    tokens = True
    whole_view = False
    steps: ClassVar[int | None] = None
    """Of the noise schedule; None are the scheduler's own."""

    @classmethod
    def noise_schedule(cls, folder: Path, card: Mapping[str, Any]) -> NoiseSchedule:
        """That of the card, which the foundation stage made of the checkpoint's scheduler."""
        return NoiseSchedule.from_flow(FlowTable(**card["flow"]))

    @classmethod
    def card_fields(cls, folder: Path, origin: int, resolution: int | None) -> dict[str, Any]:
        """What fixes sigma at every t (flow_table.py): `flow`."""
        if origin:
            raise ValueError(
                f"foundation.timestep_origin: got {origin}, but in flow matching t = 0 is the "
                "clean image itself and there is one way of counting; set it to 0"
            )
        scheduler = files.read_json(folder / "scheduler" / "scheduler_config.json")
        token = PATCH * cls.vae_reduction(files.read_json(folder / "vae" / "config.json"))
        table = FlowTable.from_scheduler(scheduler, token, resolution, cls.steps)
        return {"flow": table.as_dict()}

    @classmethod
    def vae_reduction(cls, config: Mapping[str, Any]) -> int:
        """Image side over latent side, from the VAE's configuration."""
        return 2 ** (len(config["block_out_channels"]) - 1)

    @property
    def reduction(self) -> int:
        """Image side over latent side: 8."""
        return self.vae_reduction(self.vae.config)

    @property
    def multiple(self) -> int:
        """Side of a token in pixels: 16."""
        return PATCH * self.reduction

    def sigma(self, z_t: Tensor, t: Timestep) -> Tensor:
        """The noise at t for every latent of a batch: (B,) fp32, exact whatever the arithmetic."""
        if isinstance(t, int):
            noise = self.schedule.coefficients(t)[1]
            return torch.full((len(z_t),), noise, device=z_t.device)
        return self.schedule.noise[self.schedule.indices(t).cpu()].float().to(z_t.device)


def packed(z: Tensor) -> Tensor:
    """Latents => tokens, row by row: (B, C, h, w) => (B, h/2 w/2, 4 C)."""
    batch, channels, height, width = z.shape
    z = z.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
    return z.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens => latents of these sides: (B, h/2 w/2, 4 C) => (B, C, h, w)."""
    rows, columns = height // PATCH, width // PATCH
    z = tokens.reshape(len(tokens), rows, columns, -1, PATCH, PATCH)
    return z.permute(0, 3, 1, 4, 2, 5).reshape(len(tokens), -1, height, width)

"""Stable Diffusion 1.x and 2.x, and every model of the same diffusers classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

from omgsr.models.backbones.base import CONVOLUTIONAL, Backbone
from omgsr.models.schedule import NoiseSchedule, Timestep
from omgsr.models.text_encoders import CLIP

# The same names in encoder and denoiser, as in the official training: 1.48 M weights at rank 16 and
# 25.26 M at rank 32 for SD2.1-base.
DENOISER_TARGETS = CONVOLUTIONAL


class StableDiffusion(Backbone):
    """AutoencoderKL + UNet2DConditionModel + DDPMScheduler in the hub's folder layout."""

    denoiser_targets: ClassVar[tuple[str, ...]] = DENOISER_TARGETS
    denoiser_class = UNet2DConditionModel
    denoiser_folder = "unet"
    adapter_folders = (("vae_encoder_lora_adapter", "unet_lora_adapter"),)
    embedding = CLIP

    @classmethod
    def noise_schedule(cls, folder: Path, card: Mapping[str, Any]) -> NoiseSchedule:
        """That of the checkpoint; cards of before the origin was a setting count from 0."""
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        return NoiseSchedule.from_ddpm(scheduler, card.get("timestep_origin", 0))

    @classmethod
    def card_fields(cls, folder: Path, origin: int, resolution: int | None) -> dict[str, Any]:
        """None: the schedule is the same at every size."""
        if resolution is not None:
            raise ValueError(
                f"foundation.resolution: got {resolution}, but the schedule of a DDPM is the same "
                "at every size; set it to null"
            )
        return {}

    @property
    def alignment(self) -> int:
        """Each level of the denoiser halves a tile as it halves the whole; it takes any latent."""
        return self.reduction * 2 ** (len(self.denoiser.config.block_out_channels) - 1)

    def predict(self, z_t: Tensor, t: Timestep) -> Tensor:
        """UNet output at t under the one prompt (epsilon or v, as the schedule says)."""
        prompt, schedule = self.prompts(z_t)["prompt"], self.schedule
        step = schedule.index(t) if isinstance(t, int) else schedule.indices(t)
        return self.denoiser(z_t, step, encoder_hidden_states=prompt).sample


class Mini(StableDiffusion):
    """The small model of the same classes: its few channels leave the adapters less to work with.

    Every linear layer is adapted too, which makes its restored pictures better.
    """

    denoiser_targets = (*DENOISER_TARGETS, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")

"""Stable Diffusion 1.x and 2.x, and every model of the same diffusers classes."""

from __future__ import annotations

from pathlib import Path

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from omgsr.backbones.base import Backbone
from omgsr.schedule import NoiseSchedule

# Every convolution and attention projection, as in the released OMGSR adapters.
ENCODER_TARGETS = (
    "conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out",
    "to_k", "to_q", "to_v", "to_out.0",
)  # fmt: skip
DENOISER_TARGETS = (
    "to_k", "to_q", "to_v", "to_out.0", "conv", "conv1", "conv2", "conv_shortcut", "conv_out",
    "proj_in", "proj_out", "ff.net.2", "ff.net.0.proj",
)  # fmt: skip


class StableDiffusion(Backbone):
    """AutoencoderKL + UNet2DConditionModel + DDPMScheduler in the hub's folder layout."""

    @classmethod
    def from_folder(cls, foundation: Path, folder: Path) -> StableDiffusion:
        """Reads vae/, unet/ and scheduler/ in `folder`, prompt.safetensors in `foundation`.

        Raises FileNotFoundError naming the part that is missing.
        """
        for part in ("vae/config.json", "unet/config.json", "scheduler/scheduler_config.json"):
            if not (folder / part).is_file():
                raise FileNotFoundError(
                    f"{folder / part} is missing; a model folder holds vae/, unet/ and scheduler/ "
                    "as on the hub; run `dvc repro -f foundation` or correct foundation.path"
                )
        prompt_file = foundation / "prompt.safetensors"
        if not prompt_file.is_file():
            raise FileNotFoundError(
                f"{prompt_file} is missing; the foundation stage writes it: "
                "run `dvc repro -f foundation`"
            )
        vae = AutoencoderKL.from_pretrained(folder / "vae", local_files_only=True)
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", local_files_only=True)
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        return cls(
            vae=vae.float(),
            denoiser=unet.float(),
            schedule=NoiseSchedule.from_ddpm(scheduler),
            prompt=load_file(prompt_file)["prompt"].float(),
            shift=vae.config.shift_factor or 0.0,
            scale=vae.config.scaling_factor,
            encoder_targets=ENCODER_TARGETS,
            denoiser_targets=DENOISER_TARGETS,
        )

    def predict(self, z_t: Tensor, t: int) -> Tensor:
        """UNet output at t under the one prompt (epsilon or v, as the schedule says)."""
        prompt = self.prompt.to(z_t.dtype).expand(len(z_t), -1, -1)
        return self.denoiser(z_t, t, encoder_hidden_states=prompt).sample

"""Stable Diffusion 1.x and 2.x, and every model of the same diffusers classes."""

from pathlib import Path
from typing import Any, ClassVar, Self

from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from omgsr.models import weight_files
from omgsr.models.backbones.base import Backbone
from omgsr.models.schedule import NoiseSchedule

# Every convolution and the projections of every attention, the same names in both, as in the
# official training: 1.48 M weights at rank 16 and 25.26 M at rank 32 for SD2.1-base.
ENCODER_TARGETS = DENOISER_TARGETS = (
    "conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out",
    "to_k", "to_q", "to_v", "to_out.0",
)  # fmt: skip


class StableDiffusion(Backbone):
    """AutoencoderKL + UNet2DConditionModel + DDPMScheduler in the hub's folder layout."""

    encoder_targets = ENCODER_TARGETS
    denoiser_targets: ClassVar[tuple[str, ...]] = DENOISER_TARGETS

    @classmethod
    def from_folder(cls, foundation: Path, folder: Path, origin: int) -> Self:
        """Reads vae/, unet/ and scheduler/ in `folder`, prompt.safetensors in `foundation`.

        Prediction type, noise schedule and latent scale are those of the checkpoint; `origin` is
        the number of its first timestep.

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
        vae = _network(AutoencoderKL, folder / "vae")
        unet = _network(UNet2DConditionModel, folder / "unet")
        scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        return cls(
            vae=vae.float(),
            denoiser=unet.float(),
            schedule=NoiseSchedule.from_ddpm(scheduler, origin),
            prompt=load_file(prompt_file)["prompt"].float(),
            shift=vae.config.shift_factor or 0.0,
            scale=vae.config.scaling_factor,
        )

    def predict(self, z_t: Tensor, t: int) -> Tensor:
        """UNet output at t under the one prompt (epsilon or v, as the schedule says)."""
        prompt = self.prompt.to(z_t.dtype).expand(len(z_t), -1, -1)
        step = self.schedule.index(t)
        return self.denoiser(z_t, step, encoder_hidden_states=prompt).sample


class Mini(StableDiffusion):
    """The small model of the same classes: its few channels leave the adapters less to work with.

    Every linear layer is adapted too, which makes its restored pictures better.
    """

    denoiser_targets = (*DENOISER_TARGETS, "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2")


def _network(kind: Any, folder: Path) -> Any:
    """A network of diffusers from its folder; a weight that is missing is never left random."""
    weight_files.find(folder, "diffusion_pytorch_model")
    network, report = kind.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    odd = [*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])]
    if odd:
        raise ValueError(
            f"{folder}: its weights are not those of its config.json, which needs {odd[0]} and "
            f"{len(odd) - 1} more; get the folder again"
        )
    return network

"""The OMGSR generator: LoRA'd encoder -> one step at t -> frozen decoder (Sec. 3.5).

z_L = E_lora(x_L)                                                                    Eq. 6
z_P = (z_L - noise_t * eps_theta(z_L, t, c)) / signal_t,      x_P = D(z_P)            Eq. 7
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

from omgsr.core import seeding
from omgsr.method import lora
from omgsr.method.settings import Precision
from omgsr.models.backbones.base import Backbone, Latent, Rng


class Generator(nn.Module):
    """A backbone with adapters on its VAE encoder and its denoiser, run at one timestep.

    `forward` is the only way through: training, which takes its two halves, previews and inference
    all use it. The encoder without its adapter serves the targets, so one VAE is in memory, not
    two.
    """

    def __init__(self, backbone: Backbone, t: int, latent: Latent = "mode") -> None:
        """`t` as the schedule counts; `latent` says what stands for an encoded image."""
        super().__init__()
        backbone.schedule.coefficients(t)  # refuses a timestep outside the schedule
        self.backbone = backbone
        self.t = t
        self.latent: Latent = latent
        self.precision: Precision | None = None
        """What VAE and denoiser compute in; None is what their weights and inputs are in."""

    def add_adapters(self, encoder_rank: int, denoiser_rank: int, seed: int) -> None:
        """Fresh adapters, which leave the output as it is; their weights are drawn from `seed`."""
        b = self.backbone
        encoder_seed, denoiser_seed = (seeding.derive(seed, n) for n in ("encoder", "denoiser"))
        b.vae.encoder = lora.add(b.vae.encoder, encoder_rank, b.encoder_targets, encoder_seed)
        b.denoiser = lora.add(b.denoiser, denoiser_rank, b.denoiser_targets, denoiser_seed)

    def add_regulariser(self, seed: int) -> None:
        """A second, fresh adapter on the denoiser, for distillation (distillation.py)."""
        lora.add_regulariser(self.backbone.denoiser, seeding.derive(seed, lora.REGULARISER))

    def regulariser_parameters(self) -> list[nn.Parameter]:
        """The weights of the regulariser; empty without one."""
        return lora.parameters(self.backbone.denoiser, lora.REGULARISER)

    def adapter_parameters(self) -> list[nn.Parameter]:
        """The trainable weights: encoder adapter, then denoiser adapter."""
        return lora.parameters(self.backbone.vae.encoder) + lora.parameters(self.backbone.denoiser)

    def forward(self, x_lq: Tensor, rng: Rng = None) -> tuple[Tensor, Tensor]:
        """Upscaled LQ images => (x_sr, z_lq): (B, 3, H, W) => (B, 3, H, W), (B, C, h, w).

        Values in [-1, 1]; x_sr is not clamped. H and W must be multiples of `backbone.multiple`.
        """
        z_lq, z_sr = self.latents(x_lq, rng)
        return self.decode(z_sr), z_lq

    def latents(self, x_lq: Tensor, rng: Rng = None) -> tuple[Tensor, Tensor]:
        """Upscaled LQ images => (z_L, z_P): (B, 3, H, W) => (B, C, h, w) twice (Eqs. 6 and 7)."""
        self._check(x_lq)
        # Latents and images are fp32 whatever the arithmetic of the networks is.
        z_lq = self._encode(x_lq, rng)
        output = self.predict(z_lq, self.t)
        return z_lq, self.backbone.schedule.predict_clean(z_lq, output, self.t)

    def predict(self, z_t: Tensor, t: int) -> Tensor:
        """The denoiser's raw output at t in fp32: (B, C, h, w) => same shape."""
        with self._in("denoiser"):
            return self.backbone.predict(z_t, t).float()

    def decode(self, z: Tensor) -> Tensor:
        """x_P = D(z_P): (B, C, h, w) => (B, 3, H, W), not clamped."""
        with self._in("vae"):
            return self.backbone.decode(z).float()

    @torch.no_grad()
    def targets(self, x_hq: Tensor, rng: Rng = None) -> tuple[Tensor, Tensor]:
        """(z_H, z_t) of HQ images by the encoder without its adapter (Eqs. 1 and 6).

        (B, 3, H, W) => (B, C, h, w) twice; eps of z_t is drawn from `rng` on the CPU.
        """
        self._check(x_hq)
        with lora.disabled(self.backbone.vae.encoder):
            z_hq = self._encode(x_hq, rng)
        eps = randn_tensor(z_hq.shape, generator=rng).to(z_hq)
        return z_hq, self.backbone.schedule.add_noise(z_hq, eps, self.t)

    def _encode(self, x: Tensor, rng: Rng) -> Tensor:
        with self._in("vae"):
            return self.backbone.encode(x, self.latent, rng).float()

    def _in(self, part: Literal["vae", "denoiser"]) -> AbstractContextManager[object]:
        if self.precision is None:
            return nullcontext()
        device, bf16 = self.backbone.shift.device.type, getattr(self.precision, part) == "bf16"
        return torch.autocast(device, torch.bfloat16, enabled=bf16)

    def _check(self, x: Tensor) -> None:
        side = self.backbone.multiple
        if x.ndim != 4 or x.shape[1] != 3 or x.shape[2] % side or x.shape[3] % side:
            raise ValueError(
                f"expected (B, 3, H, W) with H and W multiples of {side}, got {tuple(x.shape)}; "
                "pad the image first (omgsr.inference.benchmarks does)"
            )

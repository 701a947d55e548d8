"""The one type that the rest of the code sees of a pre-trained model."""

from typing import Any, ClassVar, Literal

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from omgsr.models.schedule import NoiseSchedule

Latent = Literal["mode", "sample"]
Rng = torch.Generator | list[torch.Generator] | None
"""One generator of a batch, or one of every image, which makes it independent of the batch."""


class Backbone(nn.Module):
    """A VAE, a denoiser and the schedule they were trained with.

    A family's subclass gives `predict`; everything else differs between families in data only.
    """

    vae: Any
    """AutoencoderKL, or what has its encode and decode."""
    denoiser: Any
    """UNet2DConditionModel, or what `predict` calls."""
    shift: Tensor
    """(1, C, 1, 1) subtracted from a raw latent."""
    scale: Tensor
    """(1, C, 1, 1) by which a shifted latent is multiplied, to unit variance or so."""
    prompt: Tensor
    """(1, tokens, width) embedding of the one prompt."""
    encoder_targets: ClassVar[tuple[str, ...]]
    denoiser_targets: ClassVar[tuple[str, ...]]
    """Layers of the VAE's encoder and of the denoiser that get an adapter."""

    def __init__(
        self,
        *,
        vae: nn.Module,
        denoiser: nn.Module,
        schedule: NoiseSchedule,
        prompt: Tensor,
        shift: float,
        scale: float,
    ) -> None:
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()
        self.denoiser = denoiser.requires_grad_(False).eval()
        self.schedule = schedule
        self.register_buffer("shift", torch.tensor(shift).view(1, 1, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(scale).view(1, 1, 1, 1), persistent=False)
        self.register_buffer("prompt", prompt, persistent=False)

    @property
    def reduction(self) -> int:
        """Image side over latent side: 8 for SD, 4 for the mini model."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def multiple(self) -> int:
        """What an image side must be a multiple of; the denoiser's levels take any latent."""
        return self.reduction

    @property
    def alignment(self) -> int:
        """Where tiles begin: at multiples, where each level halves them as it halves the whole."""
        return self.reduction * 2 ** (len(self.denoiser.config.block_out_channels) - 1)

    def encode(self, x: Tensor, latent: Latent = "mode", generator: Rng = None) -> Tensor:
        """Images in [-1, 1] => latents: (B, 3, H, W) => (B, C, H/r, W/r).

        `mode` is the posterior's mean; `sample` draws from the posterior with `generator`.
        """
        return self.draw(self.moments(x), latent, generator)

    def moments(self, x: Tensor) -> Tensor:
        """Mean and log-variance of the posterior: (B, 3, H, W) => (B, 2 C, H/r, W/r)."""
        return self.vae.encode(x).latent_dist.parameters

    def draw(self, moments: Tensor, latent: Latent = "mode", generator: Rng = None) -> Tensor:
        """The latents that stand for images of these moments: (B, 2 C, h, w) => (B, C, h, w)."""
        posterior = DiagonalGaussianDistribution(moments)
        z = posterior.mode() if latent == "mode" else posterior.sample(generator)
        return (z - self.shift) * self.scale

    def decode(self, z: Tensor) -> Tensor:
        """Latents => images about [-1, 1], not clamped: (B, C, h, w) => (B, 3, h r, w r)."""
        return self.paint(self.raw(z))

    def raw(self, z: Tensor) -> Tensor:
        """Latents as the VAE itself gives and takes them: (B, C, h, w) => (B, C, h, w)."""
        return z / self.scale + self.shift

    def paint(self, raw: Tensor) -> Tensor:
        """Raw latents => images, not clamped: (B, C, h, w) => (B, 3, h r, w r)."""
        return self.vae.decode(raw).sample

    def predict(self, z_t: Tensor, t: int) -> Tensor:
        """The denoiser's raw output at timestep t: (B, C, h, w) => (B, C, h, w)."""
        raise NotImplementedError

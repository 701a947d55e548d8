"""The one type that the rest of the code sees of a pre-trained model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from omgsr.models.backbones import loading
from omgsr.models.schedule import NoiseSchedule, Timestep
from omgsr.models.text_encoders import Embedding

Latent = Literal["mode", "sample"]
Rng = torch.Generator | list[torch.Generator] | None
"""One generator of a batch, or one of every image, which makes it independent of the batch."""

CONVOLUTIONAL = (
    "conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out",
    "to_k", "to_q", "to_v", "to_out.0",
)  # fmt: skip
"""Every convolution and the projections of every attention of an AutoencoderKL or a UNet."""


class Backbone(nn.Module):
    """A VAE, a denoiser and the schedule they were trained with.

    A family's subclass gives `predict`; everything else differs between families in data only.
    """

    vae: Any
    """AutoencoderKL, or what has its encode and decode."""
    denoiser: Any
    """UNet2DConditionModel, or what `predict` calls."""
    shift: Tensor
    """(1, C, 1, 1) or (1, 1, 1, 1) subtracted from a raw latent."""
    scale: Tensor
    """The same shape, by which a shifted latent is multiplied, to unit variance or so."""
    encoder_targets: ClassVar[tuple[str, ...]] = CONVOLUTIONAL
    denoiser_targets: ClassVar[tuple[str, ...]]
    """Layers of the VAE's encoder and of the denoiser that get an adapter."""
    denoiser_class: ClassVar[Any]
    """Class of diffusers."""
    denoiser_folder: ClassVar[str]
    """Its sub-folder in a model folder: `unet` or `transformer`."""
    adapter_folders: ClassVar[tuple[tuple[str, str], ...]]
    """Folders of (encoder's, denoiser's) adapters: ours, then others that are read."""
    embedding: ClassVar[Embedding]
    """How its prompt is embedded."""
    resolution: ClassVar[int] = 512
    """Side of the images that it was trained on, pixels: that of the largest tile."""
    tokens: ClassVar[bool] = False
    """Whether the denoiser computes on tokens, which may leave a pattern (patterns.py)."""
    whole_view: ClassVar[bool] = True
    """Whether tiles of the denoiser can be computed as parts of the whole image."""

    def __init__(
        self,
        *,
        vae: nn.Module,
        denoiser: nn.Module,
        schedule: NoiseSchedule,
        prompt: Mapping[str, Tensor],
        shift: float | Sequence[float],
        scale: float | Sequence[float],
    ) -> None:
        """`shift` and `scale` are one number, or one of every channel."""
        super().__init__()
        self.vae = vae.requires_grad_(False).eval()
        self.denoiser = denoiser.requires_grad_(False).eval()
        self.schedule = schedule
        self.register_buffer("shift", torch.tensor(shift).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(scale).view(1, -1, 1, 1), persistent=False)
        self._prompt = tuple(prompt)
        for name, tensor in prompt.items():
            self.register_buffer(f"prompt_{name}", tensor, persistent=False)

    @classmethod
    def from_folder(
        cls, foundation: Path, card: Mapping[str, Any], dtype: torch.dtype = torch.float32
    ) -> Self:
        """Reads the networks and the scheduler in `card["path"]`, the prompt in `foundation`.

        `card` is foundation.json, `dtype` that of the denoiser's weights. Prediction type, noise
        schedule and latent statistics are those of the checkpoint. Raises FileNotFoundError naming
        the part that is missing.
        """
        folder = foundation / card["path"]
        loading.require(folder, cls.denoiser_folder)
        prompt = loading.embedded(foundation, cls.embedding.names)
        vae = cls.load_vae(folder / "vae").float()
        shift, scale = cls.statistics(vae.config)
        return cls(
            vae=vae,
            denoiser=loading.network(cls.denoiser_class, folder / cls.denoiser_folder, dtype),
            schedule=cls.noise_schedule(folder, card),
            prompt=prompt,
            shift=shift,
            scale=scale,
        )

    @classmethod
    def load_vae(cls, folder: Path) -> Any:
        """The VAE in its sub-folder."""
        return loading.network(AutoencoderKL, folder)

    @classmethod
    def statistics(cls, config: Any) -> tuple[float | Sequence[float], float | Sequence[float]]:
        """(shift, scale) of a VAE's configuration."""
        return config.shift_factor or 0.0, config.scaling_factor

    @classmethod
    def noise_schedule(cls, folder: Path, card: Mapping[str, Any]) -> NoiseSchedule:
        """That of the model folder, counted or shifted as the card says."""
        raise NotImplementedError

    @classmethod
    def card_fields(cls, folder: Path, origin: int, resolution: int | None) -> dict[str, Any]:
        """What foundation.json keeps beside the fields of all families.

        Raises ValueError for a timestep origin or a resolution that would have no effect.
        """
        raise NotImplementedError

    @property
    def prompt(self) -> dict[str, Tensor]:
        """The embedding of the one prompt: tensors (1, ...) by the names of the family."""
        return {name: self.get_buffer(f"prompt_{name}") for name in self._prompt}

    @prompt.setter
    def prompt(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes another prompt, to the device and type of the one before."""
        for name, before in self.prompt.items():
            setattr(self, f"prompt_{name}", tensors[name].to(before))

    def prompts(self, z_t: Tensor) -> dict[str, Tensor]:
        """The prompt for every latent of a batch, in its arithmetic: each (B, ...)."""
        return {
            name: one.to(z_t.dtype).expand(len(z_t), *one.shape[1:])
            for name, one in self.prompt.items()
        }

    @property
    def reduction(self) -> int:
        """Image side over latent side: 8 for SD, 4 for the mini model."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def multiple(self) -> int:
        """What an image side must be a multiple of."""
        return self.reduction

    @property
    def alignment(self) -> int:
        """Where tiles begin: at multiples, where a network divides them as it divides the whole."""
        return self.multiple

    @property
    def decoder_width(self) -> int:
        """Most channels that the decoder has at the size of the image."""
        return decoder_width(self.vae.config)

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

    def predict(self, z_t: Tensor, t: Timestep) -> Tensor:
        """Raw output at timestep t, or at one of every image: (B, C, h, w) => (B, C, h, w)."""
        raise NotImplementedError


def decoder_width(config: Any) -> int:
    """Of an AutoencoderKL: its last level gets as many channels as the level below it has."""
    channels = config.block_out_channels
    return int(channels[min(1, len(channels) - 1)])

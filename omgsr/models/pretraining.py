"""Pre-training of the small latent diffusion model that stands in for SD2.1 where no download is.

Three networks of the real classes, trained one after the other from random weights:
an AutoencoderKL (4x reduction), a UNet2DConditionModel that predicts eps under SD2.1's schedule
(Eq. 2), and a timm ConvNeXt that tells images and their degradations apart.
Every function trains one of them and yields its steps, so that the caller owns progress.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from omgsr.core import files

MINI = Path(__file__).parents[1] / "assets" / "mini"
"""The small model that the package carries; its configurations are those of what is trained."""
FEATURES: dict[str, Any] = files.read_json(MINI / "features" / "config.json")
"""The small ConvNeXt of the pretext, in the form that features.load reads; its mean and std bring
inputs in [0, 1] to [-1, 1], as the pretext saw them."""
PROMPT_SHAPE = (1, 4, 32)  # (batch, tokens, width) of the one prompt embedding the small UNet knows
_SCALES = (1.0, 0.7, 0.5, 0.35)
Losses = Iterator[tuple[str, int, float]]
"""(network, step, loss) of every step."""


def small_vae() -> AutoencoderKL:
    """1.6 M weights; (B, 3, H, W) => (B, 8, H/4, W/4)."""
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(MINI / "model" / "vae"))
    # A posterior that starts with a standard deviation of 0.05 instead of 1 learns at once.
    nn.init.constant_(vae.quant_conv.bias[vae.config.latent_channels :], -6.0)
    return vae


def small_unet() -> UNet2DConditionModel:
    """3.0 M weights; latents (B, 8, h, w), a timestep and a prompt => eps (B, 8, h, w)."""
    config = UNet2DConditionModel.load_config(MINI / "model" / "unet")
    return UNet2DConditionModel.from_config(config)


def small_features() -> nn.Module:
    """0.4 M weights; stages of 24, 48 and 96 channels, and a last one for the pretext alone."""
    return timm.create_model(FEATURES["architecture"], num_classes=0, **FEATURES["arguments"])


def sd_scheduler() -> DDPMScheduler:
    """SD2.1-base's own schedule: scaled-linear betas 0.00085 to 0.012, eps prediction."""
    return DDPMScheduler.from_config(DDPMScheduler.load_config(MINI / "model" / "scheduler"))


class CropPool:
    """Random augmented crops of a set of images, at four scales, held in memory.

    Colour augmentation (channel order, gamma a channel, gain) matters here: a dozen photographs
    hold few colours, and an autoencoder that never saw a hue cannot give it back.
    """

    def __init__(self, images: list[np.ndarray], size: int) -> None:
        """`images`: uint8 (H, W, 3); those with a side under `size` pixels are refused."""
        if not images or min(min(i.shape[:2]) for i in images) < size:
            raise ValueError(f"foundation images need both sides >= {size} px; add larger images")
        self.size = size
        self.pyramids = [_pyramid(image, size) for image in images]
        areas = np.array([image.shape[0] * image.shape[1] for image in images], float)
        self.weights = np.sqrt(areas) / np.sqrt(areas).sum()

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Crops (count, 3, size, size) in [-1, 1] and the index of each one's image (count,)."""
        which = rng.choice(len(self.pyramids), size=count, p=self.weights)
        crops = np.stack([self._crop(rng, self.pyramids[i]) for i in which])
        x = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
        return x * 2 - 1, torch.from_numpy(which)

    def _crop(self, rng: np.random.Generator, pyramid: list[np.ndarray]) -> np.ndarray:
        image = pyramid[rng.integers(len(pyramid))]
        top = rng.integers(image.shape[0] - self.size + 1)
        left = rng.integers(image.shape[1] - self.size + 1)
        crop = image[top : top + self.size, left : left + self.size].astype(np.float32) / 255
        crop = np.rot90(crop, int(rng.integers(4)))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return _recolour(rng, crop) if rng.random() < 0.7 else crop


def _pyramid(image: np.ndarray, size: int) -> list[np.ndarray]:
    sizes = [(round(image.shape[1] * s), round(image.shape[0] * s)) for s in _SCALES]
    fitting = [wh for wh in sizes if min(wh) >= size]
    return [cv2.resize(image, wh, interpolation=cv2.INTER_AREA) for wh in fitting]


def _recolour(rng: np.random.Generator, crop: np.ndarray) -> np.ndarray:
    """Channels permuted, inverted now and then, a gamma for each, one gain; [0, 1] => [0, 1]."""
    crop = crop[..., rng.permutation(3)]
    if rng.random() < 0.15:
        crop = 1 - crop
    crop = crop ** np.exp(rng.normal(0, 0.3, 3)).astype(np.float32)
    return np.clip(crop * rng.uniform(0.7, 1.2), 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Course:
    """What a network is trained on, and for how long."""

    pool: CropPool
    rng: np.random.Generator
    steps: int
    batch: int
    """Crops a step."""
    lr: float
    """Largest learning rate."""

    def noise(self) -> torch.Generator:
        """Where the noise of a training comes from, drawn from its `rng`."""
        return torch.Generator().manual_seed(int(self.rng.integers(2**62)))


def train_vae(vae: AutoencoderKL, course: Course) -> Losses:
    """L1 reconstruction with a light KL term; sets `scaling_factor` to 1 / std(z) at the end."""
    noise = course.noise()

    def loss(x: Tensor, _: Tensor) -> Tensor:
        posterior = vae.encode(x).latent_dist
        recon = vae.decode(posterior.sample(noise)).sample
        return F.l1_loss(recon.float(), x) + 1e-4 * posterior.kl().float().mean() / x[0].numel()

    yield from _minimise("autoencoder", vae, loss, course)
    with torch.inference_mode():
        z = vae.encode(course.pool.batch(course.rng, 64)[0]).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(1 / float(z.std()), 5))


def train_unet(
    unet: UNet2DConditionModel, vae: AutoencoderKL, prompt: Tensor, course: Course
) -> Losses:
    """Eq. 2 on the latents of `vae`: ||eps_theta(z_t, t, c) - eps||^2 at uniform t."""
    scheduler = sd_scheduler()
    noise = course.noise()
    vae.requires_grad_(False)

    def loss(x: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            z = vae.encode(x).latent_dist.mode().float() * vae.config.scaling_factor
        eps = torch.randn(z.shape, generator=noise)
        t = torch.randint(1000, (len(z),), generator=noise)
        z_t = scheduler.add_noise(z, eps, t)
        return F.mse_loss(unet(z_t, t, prompt.expand(len(z), -1, -1)).sample.float(), eps)

    yield from _minimise("denoiser", unet, loss, course)


def train_features(model: Any, course: Course) -> Losses:
    """Trains a timm ConvNeXt to tell which image a crop comes from, and its blur and noise."""
    head = nn.Linear(model.num_features, len(course.pool.pyramids) + 2)
    pretext = nn.Sequential(model, head)  # logits of the image, then blur and noise
    noise = course.noise()

    def loss(x: Tensor, which: Tensor) -> Tensor:
        blur, grain = torch.rand((2, len(x), 1, 1, 1), generator=noise)
        soft = F.interpolate(F.avg_pool2d(x, 4), scale_factor=4.0, mode="bicubic")
        x = torch.lerp(x, soft, blur) + 0.3 * grain * torch.randn(x.shape, generator=noise)
        out = pretext(x).float()
        wanted = torch.cat([blur, grain], dim=1).flatten(1)
        return F.cross_entropy(out[:, :-2], which) + 5 * F.mse_loss(out[:, -2:], wanted)

    yield from _minimise("features", pretext, loss, course)


def _minimise(
    name: str, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], course: Course
) -> Losses:
    """AdamW in bf16 autocast, linear warm-up over 2 % and cosine decay to zero; yields losses."""
    model.train()
    steps, lr = course.steps, course.lr
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.02)
    for step in range(1, steps + 1):
        x, which = course.pool.batch(course.rng, course.batch)
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(x, which)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        yield name, step, float(value.detach())
    model.eval()

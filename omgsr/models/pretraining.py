"""Pre-training of the small models that stand in for SD2.1 and FLUX.1-dev where no download is.

Networks of the real classes, trained one after the other from random weights: an AutoencoderKL
(4x reduction), a denoiser over its latents, and a timm ConvNeXt that tells images and their
degradations apart. The denoiser is a UNet2DConditionModel that predicts eps under SD2.1's schedule
(Eq. 2), or a FluxTransformer2DModel that predicts v under FLUX.1-dev's (Eq. 17).
Every function trains one of them and yields its steps, so that the caller owns progress.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from omgsr.core import checkpoints, files
from omgsr.models.backbones.base import Backbone
from omgsr.models.text_encoders import Tensors

ASSETS = Path(__file__).parents[1] / "assets"
MINI = ASSETS / "mini"
"""The small model that the package carries; its configurations are those of what is trained.
`mini_flow` beside it has a denoiser, a scheduler and a prompt of its own, and the VAE of `mini`."""
FEATURES: dict[str, Any] = files.read_json(MINI / "features" / "config.json")
"""The small ConvNeXt of the pretext, in the form that features.load reads; its mean and std bring
inputs in [0, 1] to [-1, 1], as the pretext saw them."""
PROMPTS: dict[str, dict[str, tuple[int, ...]]] = {
    "mini": {"prompt": (1, 4, 32)},
    "mini_flow": {"pooled": (1, 32), "sequence": (1, 4, 32)},
}
"""Shapes of the one prompt's embedding that a small denoiser knows."""
REUSE = 4
"""Steps that the latents of a batch serve; to encode them costs as much as such a step."""
KEEP_EVERY = 25 * REUSE
"""Steps between two checkpoints: whole batches, so that none is encoded twice."""
_SCALES = (1.0, 0.7, 0.5, 0.35)
Losses = Iterator[tuple[str, int, float]]
"""(network, step, loss) of every step."""


def small_vae() -> AutoencoderKL:
    """1.6 M weights; (B, 3, H, W) => (B, 8, H/4, W/4)."""
    vae = AutoencoderKL.from_config(AutoencoderKL.load_config(MINI / "model" / "vae"))
    # A posterior that starts with a standard deviation of 0.05 instead of 1 learns at once.
    nn.init.constant_(vae.quant_conv.bias[vae.config.latent_channels :], -6.0)
    return vae


def small_denoiser(name: str, family: type[Backbone]) -> Any:
    """`mini`: a UNet of 3.0 M weights; `mini_flow`: a transformer of FLUX's class, 3.9 M.

    Both are over latents (B, 8, h, w), in the configurations that the package carries.
    """
    kind = family.denoiser_class
    config = kind.load_config(ASSETS / name / "model" / family.denoiser_folder)
    return kind.from_config(config)


def fresh_prompt(name: str) -> Tensors:
    """A random embedding, from torch's own generator: the model has one prompt and no text."""
    return {part: torch.randn(shape) for part, shape in PROMPTS[name].items()}


def small_features() -> nn.Module:
    """0.4 M weights; stages of 24, 48 and 96 channels, and a last one for the pretext alone."""
    return timm.create_model(FEATURES["architecture"], num_classes=0, **FEATURES["arguments"])


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
    work: Path | None = None
    """Folder where a killed training continues; None starts again."""

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

    yield from _minimise("autoencoder", vae, loss, course, noise)
    with torch.inference_mode():
        z = vae.encode(course.pool.batch(course.rng, 64)[0]).latent_dist.mode()
    vae.register_to_config(scaling_factor=round(1 / float(z.std()), 5))


def train_denoiser(backbone: Backbone, course: Course) -> Losses:
    """Eqs. 2 and 17 on the latents of its VAE: ||f(z_t, t, c) - target||^2 at uniform t."""
    noise, schedule = course.noise(), backbone.schedule

    @torch.no_grad()
    def latents(x: Tensor) -> Tensor:
        return backbone.encode(x).float()

    def loss(z: Tensor, _: Tensor) -> Tensor:
        eps = torch.randn(z.shape, generator=noise)
        t = torch.randint(1, schedule.last + 1, (len(z),), generator=noise)
        output = backbone.predict(schedule.add_noise(z, eps, t), t).float()
        return F.mse_loss(output, schedule.target(z, eps, t))

    denoiser = backbone.denoiser.requires_grad_(True)
    yield from _minimise("denoiser", denoiser, loss, course, noise, latents)


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

    yield from _minimise("features", pretext, loss, course, noise)


def _minimise(
    name: str,
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    course: Course,
    noise: torch.Generator,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Losses:
    """AdamW, linear warm-up over 2 % and cosine decay to zero; yields losses.

    What `prepare` makes of a batch serves REUSE steps, each with noise of its own. In bf16 where
    the processor has it (elsewhere it is ten times slower than fp32).
    """
    model.train()
    steps, lr = course.steps, course.lr
    optimiser = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.02)
    parts = {"model": model, "optimiser": optimiser, "schedule": schedule}
    for step in range(_resumed(name, parts, course, noise) + 1, steps + 1):
        with torch.autocast("cpu", torch.bfloat16, enabled=fast_bf16()):
            if prepare is None or step % REUSE == 1:
                x, which = course.pool.batch(course.rng, course.batch)
                x = prepare(x) if prepare else x
            value = loss(x, which)
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        yield name, step, float(value.detach())
        if course.work and (step % KEEP_EVERY == 0 or step == steps):
            _keep(name, step, parts, course, noise)
    model.eval()


def fast_bf16() -> bool:
    """Whether oneDNN computes in bf16 here and is held to nothing less (core/exact.py)."""
    return "ONEDNN_MAX_CPU_ISA" not in os.environ and torch.cpu._is_avx512_bf16_supported()


def _keep(
    name: str, step: int, parts: dict[str, Any], course: Course, noise: torch.Generator
) -> None:
    """Writes all that the next steps depend on."""
    assert course.work is not None
    state = {part: one.state_dict() for part, one in parts.items()}
    drawn = {"rng": json.dumps(course.rng.bit_generator.state), "noise": noise.get_state()}
    checkpoints.save(course.work / f"{name}.pt", {"step": step, **drawn, **state})


def _resumed(name: str, parts: dict[str, Any], course: Course, noise: torch.Generator) -> int:
    """Steps that a killed training had kept, which are taken up; 0 of a new one."""
    state = checkpoints.load(course.work / f"{name}.pt") if course.work else None
    if state is None:
        return 0
    for part, one in parts.items():
        one.load_state_dict(state[part])
    course.rng.bit_generator.state = json.loads(state["rng"])
    noise.set_state(state["noise"])
    return int(state["step"])

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from omgsr.core import checkpoints
from omgsr.models.backbones.base import Backbone
from omgsr.models.crop_pool import CropPool

REUSE = 4
"""Steps that the latents of a batch serve; to encode them costs as much as such a step."""
KEEP_EVERY = 25 * REUSE
"""Steps between two checkpoints: whole batches, so that none is encoded twice."""
Losses = Iterator[tuple[str, int, float]]
"""(network, step, loss) of every step."""


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
    weights: int = 0
    """Seed of torch's own generator, which fresh weights come from."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Step and mean loss of every KEEP_EVERY steps so far."""

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
    recent: list[float] = []
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
        recent.append(float(value.detach()))
        yield name, step, recent[-1]
        if step % KEEP_EVERY == 0 or step == steps:
            course.curve.append((step, float(np.mean(recent))))
            recent.clear()
            if course.work:
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
    kept = {"step": step, "curve": course.curve, **drawn, **state}
    checkpoints.save(course.work / f"{name}.pt", kept)


def _resumed(name: str, parts: dict[str, Any], course: Course, noise: torch.Generator) -> int:
    """Steps that a killed training had kept, which are taken up; 0 of a new one."""
    state = checkpoints.load(course.work / f"{name}.pt") if course.work else None
    if state is None:
        return 0
    for part, one in parts.items():
        one.load_state_dict(state[part])
    course.rng.bit_generator.state = json.loads(state["rng"])
    noise.set_state(state["noise"])
    course.curve.extend(map(tuple, state["curve"]))
    return int(state["step"])

"""Variational score distillation with a regulariser adapter, OSEDiff's prior (Table 1).

The generator's latents z are to be as likely under the pre-trained denoiser as those of HQ images.
At a t drawn evenly from the middle 96 % of the schedule, with fresh noise,

    z_t  = signal_t z + noise_t eps                                                 Eqs. 1 and 16
    grad = (z0_reg(z_t) - z0_pre(z_t)) / mean |z - z0_pre(z_t)|

where z0 is the clean latent of a denoiser's output (Eq. 7): `pre` is the denoiser without adapters,
`reg` the same one with the regulariser, which follows the generator's latents by the loss that the
denoiser was trained with (Eq. 2) on its own t and noise. For a denoiser that predicts noise
z0_reg - z0_pre = noise_t / signal_t (eps_pre - eps_reg): the score difference of distillation.

After Wu et al., One-step effective diffusion network for real-world image super-resolution, 2024.
Theirs differ: a prompt for every image, classifier-free guidance of 7.5 against a negative prompt
in z0_pre, rank 4. Here the one prompt of a run is used, without guidance.
"""

import torch
import torch.nn.functional as F
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from omgsr.method import lora
from omgsr.method.generator import Generator

MARGIN = 0.02
"""Share of the schedule at each end that no t is drawn from: 20..980 of 1000."""


def direction(generator: Generator, z: Tensor, rngs: list[torch.Generator]) -> Tensor:
    """`grad` above, what gradient descent moves latents against: (B, C, h, w) => same shape.

    Pair by pair, since each has a t of its own from its own generator.
    """
    denoiser = generator.backbone.denoiser
    with torch.no_grad():
        drawn = [_noised(generator, one, rng) for one, rng in zip(z.split(1), rngs, strict=True)]
        with lora.disabled(denoiser):
            pre = [_clean(generator, z_t, t) for z_t, t, _ in drawn]
        with lora.active(denoiser, lora.REGULARISER):
            reg = [_clean(generator, z_t, t) for z_t, t, _ in drawn]
        z_pre, z_reg = torch.cat(pre), torch.cat(reg)
        distance = (z - z_pre).abs().mean((1, 2, 3), keepdim=True)
        return (z_reg - z_pre) / distance.clamp(min=1e-8)


def regulariser_loss(generator: Generator, z: Tensor, rngs: list[torch.Generator]) -> Tensor:
    """E ||reg(z_t) - target||^2 (Eq. 2) of latents that are taken as they are.

    To be called, and its gradient taken, where the regulariser is the active adapter.
    """
    schedule, values = generator.backbone.schedule, []
    for one, rng in zip(z.detach().split(1), rngs, strict=True):
        z_t, t, eps = _noised(generator, one, rng)
        target = schedule.target(one, eps, t)
        values.append(F.mse_loss(generator.predict(z_t, t), target))
    return torch.stack(values).mean()


def _clean(generator: Generator, z_t: Tensor, t: int) -> Tensor:
    """z0 of the denoiser with the adapter that is active."""
    return generator.backbone.schedule.predict_clean(z_t, generator.predict(z_t, t), t)


def _noised(generator: Generator, z: Tensor, rng: torch.Generator) -> tuple[Tensor, int, Tensor]:
    """(z_t, t, eps) of one latent."""
    schedule = generator.backbone.schedule
    low, high = round(MARGIN * schedule.last), round((1 - MARGIN) * schedule.last)
    t = int(torch.randint(low, high + 1, (), generator=rng))
    eps = randn_tensor(z.shape, generator=rng).to(z)
    return schedule.add_noise(z, eps, t), t, eps

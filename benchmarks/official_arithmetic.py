"""What follows from settings of `official` alone: the arithmetic of official.py."""

import math

import torch
from diffusers import DDPMScheduler
from scipy.optimize import minimize_scalar

from omgsr.core import images
from omgsr.data import photographs
from omgsr.inference.scaling import pad
from omgsr.method import losses
from omgsr.method.discriminator import Discriminator
from omgsr.method.settings import Heads
from omgsr.models.schedule import NoiseSchedule

CONVNEXT_L = [192, 384, 768]
"""Channels of its levels."""


def snr(t: int, origin: int) -> float:
    """alpha_bar / (1 - alpha_bar) of SD2.1 at t, counted from `origin`."""
    schedule = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    signal, noise = NoiseSchedule.from_ddpm(schedule, origin).coefficients(t)
    return (signal / noise) ** 2


def optimum(leftover: bool) -> float:
    """Sigmoid of the logit of a restored image that the heads' losses are least at.

    L_fake alone (Eq. 14), or with the generator's term (Eq. 12) left in and added.
    """

    def loss(logit: float) -> float:
        maps = [torch.tensor([[[[logit]]]], dtype=torch.float64)]
        return float(losses.gan(maps, 0.0) + (losses.gan(maps, 0.8) if leftover else 0))

    best = float(minimize_scalar(loss, bounds=(-12, 12), method="bounded").x)
    return 1 / (1 + math.exp(-best))


def shrink(steps: int, lr: float, decay: float) -> float:
    """Share of a weight that AdamW takes in so many steps without a gradient."""
    return 1 - (1 - lr * decay) ** steps


def count(kind: Heads) -> int:
    """Weights of heads on ConvNeXt-L."""
    return sum(p.numel() for p in Discriminator(CONVNEXT_L, kind=kind).parameters())


def padding(multiple: int) -> float:
    """Pixels that padding adds to the packaged photographs' sizes, share of them, on average."""
    sizes = [images.read_size(photographs.locate(name)) for name in photographs.PHOTOGRAPHS]
    shares = []
    for height, width in sizes:
        blank = torch.zeros(height, width, 1, dtype=torch.uint8).numpy()
        shares.append(math.prod(pad(blank, multiple).shape) / (height * width) - 1)
    return sum(shares) / len(shares)

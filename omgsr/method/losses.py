"""The generator's named loss terms and their weighted sum; the discriminator's loss.

Each function is one equation; a variant is a dict of weights over these names (Eq. 13).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from omgsr.evaluation.patterns import repeated

Perceptual = Callable[[Tensor, Tensor], Tensor]
PERCEPTUAL = ("lpips", "stlpips", "ssim")
"""Terms that compare pictures by what perceptual.py loads."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What generator losses look at: images (B, 3, H, W) in [-1, 1], latents (B, C, h, w)."""

    x_sr: Tensor
    x_hq: Tensor
    z_lq: Tensor
    """From the adapted encoder."""
    z_sr: Tensor
    """The restored latent."""
    z_hq: Tensor
    """From the frozen encoder."""
    z_t: Tensor
    """z_hq noised to t."""
    logits: list[Tensor]
    """Discriminator logits of x_sr, a map a level."""
    pooled_sr: list[Tensor]
    pooled_hq: list[Tensor]
    """L^0..L^3 of both (Eq. 10)."""
    real_label: float
    period: int
    """Side in pixels of what one latent or token is decoded to (patterns.py)."""
    perceptual: Mapping[str, Perceptual] = field(default_factory=dict)
    """Distances of images in [-1, 1], (B,), of the terms of the same names (perceptual.py)."""
    distilled: Tensor | None = None
    """The gradient of distillation at z_sr (distillation.py)."""


def gan(logits: list[Tensor], label: float) -> Tensor:
    """Sum over levels of E[BCE(logit, label)] (Eqs. 12 and 14)."""
    maps = [x.float() for x in logits]
    terms = [F.binary_cross_entropy_with_logits(x, torch.full_like(x, label)) for x in maps]
    return torch.stack(terms).sum()


def dists(pooled_sr: list[Tensor], pooled_hq: list[Tensor], c: float = 1e-6) -> Tensor:
    """Dv3CD (Eq. 11): 1 - the mean over channels of structure and texture similarity, in [0, 2].

    Statistics over height and width; `c` keeps the ratios finite where both sides are constant.
    """
    total, channels = torch.zeros(()), 0
    for a, b in zip(pooled_sr, pooled_hq, strict=True):
        a, b = a.float().flatten(2), b.float().flatten(2)
        mean_a, mean_b = a.mean(2), b.mean(2)
        # Centred first: E[ab] - E[a]E[b] loses a small covariance beside large means.
        a, b = a - mean_a[..., None], b - mean_b[..., None]
        covariance = (a * b).mean(2)
        variances = a.square().mean(2) + b.square().mean(2)
        texture = (2 * mean_a * mean_b + c) / (mean_a.square() + mean_b.square() + c)
        structure = (2 * covariance + c) / (variances + c)
        total = total.to(a.device) + (texture + structure).sum(1).mean()
        channels += a.shape[1]
    return 1 - total / (2 * channels)


def perceived(outputs: Outputs, name: str) -> Tensor:
    """Mean distance over the batch by one of PERCEPTUAL.

    lpips is what Dv3CD is compared with (Table 4); stlpips and ssim stand in for it.
    """
    if name not in outputs.perceptual:
        raise ValueError(f"the loss {name} needs its network; give omgsr.method.perceptual.load()")
    return outputs.perceptual[name](outputs.x_sr, outputs.x_hq).mean()


def vsd(z_sr: Tensor, distilled: Tensor | None) -> Tensor:
    """E ||z_P - sg(z_P - grad)||^2: its value is E[grad^2], its gradient in z_P 2 grad / number.

    `distilled` is the grad of variational score distillation (distillation.py).
    """
    if distilled is None:
        raise ValueError("the loss vsd needs a regulariser; call Generator.add_regulariser()")
    return F.mse_loss(z_sr, (z_sr - distilled).detach())


TERMS: dict[str, Callable[[Outputs], Tensor]] = {
    "lrr": lambda o: F.mse_loss(o.z_lq, o.z_t),  # E ||z_L - z_t*||^2 (Eq. 6)
    "to_hq": lambda o: F.mse_loss(o.z_lq, o.z_hq),  # E ||z_L - z_H||^2 (Table 2)
    "gan": lambda o: gan(o.logits, o.real_label),
    "dv3cd": lambda o: dists(o.pooled_sr, o.pooled_hq),
    "lpips": lambda o: perceived(o, "lpips"),
    "stlpips": lambda o: perceived(o, "stlpips"),
    "ssim": lambda o: perceived(o, "ssim"),
    "l1": lambda o: F.l1_loss(o.x_sr, o.x_hq),
    "l2": lambda o: F.mse_loss(o.x_sr, o.x_hq),
    # What repeats with every token: power at the multiples of its frequency (patterns.py).
    "pattern": lambda o: repeated(o.x_sr.float() - o.x_hq.float(), o.period).abs().mean(),
    "vsd": lambda o: vsd(o.z_sr, o.distilled),
}


def generator_terms(outputs: Outputs, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The unweighted value of every term with a weight above 0."""
    return {name: TERMS[name](outputs) for name, weight in weights.items() if weight > 0}


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """L_G (Eq. 13)."""
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def discriminator_terms(
    fake: list[Tensor], real: list[Tensor], real_label: float
) -> dict[str, Tensor]:
    """L_fake with label 0 and L_real with the soft label (Eq. 14); Eq. 15 weighs their sum."""
    return {"d_fake": gan(fake, 0.0), "d_real": gan(real, real_label)}

"""Multi-level discriminator heads over frozen features (Eq. 9, Fig. 3), and what they may see.

That is the images, or with `train.diffaugment` a random augmentation of them (DiffAugment, Zhao et
al., 2020), which the official code applies and the paper does not name. It is differentiable, so
the generator is judged through it. torchvision's transforms draw once a batch, from torch's global
generator; here every image has its own.
"""

from collections.abc import Iterator, Sequence
from typing import Self

import torch
import torch.nn.functional as F
from timm.layers import BlurPool2d
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from omgsr.method import official_heads
from omgsr.method.settings import Heads

Rngs = Sequence[torch.Generator]
SHIFT = 0.125
"""Largest translation, share of the side."""
HOLE = 0.5
"""Side of the box that is cut out, share of the side."""


class Discriminator(nn.Module):
    """One head a level. Of the kind `map` it gives logits with stride 32, for any size from 32 px;
    `official` gives one logit, for sizes from 384 px (official_heads.py).

    The sigmoid of Eq. 9 is inside the losses (binary cross-entropy with logits), which is the
    same function and does not overflow. Weights are drawn from torch's global generator.
    """

    def __init__(self, channels: list[int], spectral: bool = False, kind: Heads = "map") -> None:
        """`channels`: C_1..C_3 of the feature levels, whose strides are 4, 8 and 16.

        `spectral` divides every convolution by its largest singular value, as the official code.
        """
        super().__init__()
        depth = len(channels)
        self.kind = kind
        self.heads = nn.ModuleList(
            official_heads.head(c) if kind == "official" else _head(c, depth - level)
            for level, c in enumerate(channels)
        )
        self._norms: list[nn.Module] = []
        if spectral:
            for module in [m for m in self.heads.modules() if isinstance(m, nn.Conv2d)]:
                self._norms.append(spectral_norm(module).get_submodule("parametrizations"))
        self.train()

    def train(self, mode: bool = True) -> Self:
        """As any module's, but that a forward pass estimates no singular value anew."""
        super().train(mode)
        for norm in self._norms:
            norm.eval()
        return self

    def iterate(self) -> None:
        """One power iteration for every largest singular value: once an optimiser step.

        torch takes one in every forward pass, and so the weights would depend on how many of a
        step's passes a process has.
        """
        for norm in self._norms:
            norm.train()
            norm.get_submodule("weight")()
            norm.eval()

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """F^1..F^3 => logits: (B, C_l, h, w) => (B, 1, H/32, W/32) or (B, 1, 1, 1) a level.

        Raises ValueError where images are too small for the kind.
        """
        if self.kind == "official" and features:
            height, width = features[0].shape[2:]
            official_heads.require_size(4 * height, 4 * width)
        return [head(f) for head, f in zip(self.heads, features, strict=True)]


def _head(channels: int, halvings: int) -> nn.Sequential:
    """A convolution on the features as they are, then a low-pass filter before every halving.

    The first convolution comes before any filter: what is finest tells restored from real.
    """
    hidden = max(channels // 2, 32)
    layers: list[nn.Module] = [nn.Conv2d(channels, hidden, 3, padding=1), nn.LeakyReLU(0.2)]
    for _ in range(halvings):
        layers += [
            BlurPool2d(hidden, filt_size=3, stride=2, pad_mode="replicate"),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(hidden, 1, 3, padding=1))


def augment(x: Tensor, rngs: Rngs) -> Tensor:
    """Colour, translation and cutout: (B, 3, H, W) => same shape.

    `rngs`: a generator for every image, of the CPU whatever the device of `x`.
    """
    return cut_out(translate(colour(x, rngs), rngs), rngs)


def colour(x: Tensor, rngs: Rngs) -> Tensor:
    """Brightness +-0.5, then saturation by 0 to 2, then contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = (_uniform(x, rngs) for _ in range(3))
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    middle = x.mean((1, 2, 3), keepdim=True)
    return (x - middle) * (contrast + 0.5) + middle


def translate(x: Tensor, rngs: Rngs) -> Tensor:
    """Shifts every image by up to 1/8 of its sides; zeros come in."""
    height, width = x.shape[2:]
    down, right = int(height * SHIFT + 0.5), int(width * SHIFT + 0.5)
    padded = F.pad(x, (right, right, down, down))
    moved = [
        image[:, top : top + height, left : left + width]
        for image, (top, left) in zip(padded, _corners((2 * down, 2 * right), rngs), strict=True)
    ]
    return torch.stack(moved)


def cut_out(x: Tensor, rngs: Rngs) -> Tensor:
    """Sets a box of half the sides to zero in every image; its centre is anywhere inside."""
    height, width = x.shape[2:]
    high, wide = int(height * HOLE + 0.5), int(width * HOLE + 0.5)
    mask = torch.ones(len(x), 1, height, width)
    for one, (y, x_) in zip(mask, _corners((height - 1, width - 1), rngs), strict=True):
        top, left = y - high // 2, x_ - wide // 2
        one[:, max(top, 0) : max(top + high, 0), max(left, 0) : max(left + wide, 0)] = 0
    return x * mask.to(x)


def _uniform(x: Tensor, rngs: Rngs) -> Tensor:
    return torch.cat([torch.rand(1, 1, 1, 1, generator=rng) for rng in rngs]).to(x)


def _corners(largest: tuple[int, int], rngs: Rngs) -> Iterator[tuple[int, int]]:
    """A pair of whole numbers from 0 to `largest`, both included, for every image."""
    for rng in rngs:
        top, left = (int(torch.randint(high + 1, (1,), generator=rng)) for high in largest)
        yield top, left

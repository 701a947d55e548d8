"""Random augmentation of what a discriminator sees (DiffAugment, Zhao et al., 2020).

The official code applies it and the paper does not name it: `train.diffaugment`. It is
differentiable, so the generator is judged through it. torchvision's transforms draw once a batch,
from torch's global generator; here every image has its own.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFT = 0.125
"""Largest translation, share of the side."""
HOLE = 0.5
"""Side of the box that is cut out, share of the side."""


def augment(x: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """Colour, translation and cutout: (B, 3, H, W) => same shape.

    `rngs`: a generator for every image, of the CPU whatever the device of `x`.
    """
    return cut_out(translate(colour(x, rngs), rngs), rngs)


def colour(x: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """Brightness +-0.5, then saturation by 0 to 2, then contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = (_uniform(x, rngs) for _ in range(3))
    x = x + (brightness - 0.5)
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * (2 * saturation) + grey
    middle = x.mean((1, 2, 3), keepdim=True)
    return (x - middle) * (contrast + 0.5) + middle


def translate(x: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """Shifts every image by up to 1/8 of its sides; zeros come in."""
    height, width = x.shape[2:]
    down, right = int(height * SHIFT + 0.5), int(width * SHIFT + 0.5)
    padded = F.pad(x, (right, right, down, down))
    moved = [
        image[:, top : top + height, left : left + width]
        for image, (top, left) in zip(padded, _corners((2 * down, 2 * right), rngs), strict=True)
    ]
    return torch.stack(moved)


def cut_out(x: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    """Sets a box of half the sides to zero in every image; its centre is anywhere inside."""
    height, width = x.shape[2:]
    high, wide = int(height * HOLE + 0.5), int(width * HOLE + 0.5)
    mask = torch.ones(len(x), 1, height, width)
    for one, (y, x_) in zip(mask, _corners((height - 1, width - 1), rngs), strict=True):
        top, left = y - high // 2, x_ - wide // 2
        one[:, max(top, 0) : max(top + high, 0), max(left, 0) : max(left + wide, 0)] = 0
    return x * mask.to(x)


def _uniform(x: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
    return torch.cat([torch.rand(1, 1, 1, 1, generator=rng) for rng in rngs]).to(x)


def _corners(
    largest: tuple[int, int], rngs: Sequence[torch.Generator]
) -> Iterator[tuple[int, int]]:
    """A pair of whole numbers from 0 to `largest`, both included, for every image."""
    for rng in rngs:
        top, left = (int(torch.randint(high + 1, (1,), generator=rng)) for high in largest)
        yield top, left

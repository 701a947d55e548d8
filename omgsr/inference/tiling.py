"""Any size through a network that takes small ones: overlapping tiles, blended without a seam.

Where tiles overlap, the result is their mean, weighted by a window that falls smoothly towards the
border of a tile. Windows are separable: a row and a column of weights stand for them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of an image or a latent."""

    top: int
    left: int
    height: int
    width: int

    def of(self, x: Tensor) -> Tensor:
        """That part of (..., H, W)."""
        return x[..., self.top : self.top + self.height, self.left : self.left + self.width]


Function = Callable[[Tensor, Sequence[Box]], Tensor]
"""(n, C, h, w) and where each of the n tiles is => (n, C', factor h, factor w)."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How an image is cut into squares; sides are pixels of what is cut."""

    tile: int
    """Side."""
    overlap: int
    """Least overlap of neighbours, less than the side."""
    step: int = 1
    """Tiles begin at multiples of it: the levels of a network halve them where they halve all."""
    batch: int = 1
    """Tiles computed at once."""

    def __post_init__(self) -> None:
        if self.tile < 1 or self.tile % self.step:
            raise ValueError(f"tile: got {self.tile}, allowed: multiples of {self.step}")
        if not 0 <= self.overlap < self.tile:
            raise ValueError(
                f"overlap: got {self.overlap}, allowed: 0..{self.tile - 1}, less than the tile of "
                f"{self.tile}; a quarter of the tile is usual"
            )

    def reduced(self, factor: int) -> Self:
        """The same squares of something that has 1/`factor` of the side."""
        tile, step = _whole(Fraction(self.tile, factor)), _whole(Fraction(self.step, factor))
        overlap = min(-(-self.overlap // factor), tile - 1)
        return replace(self, tile=tile, step=step, overlap=overlap)


def starts(size: int, tile: int, overlap: int, step: int = 1) -> list[int]:
    """Where tiles begin along a side: as few as overlap enough, evenly spread, the last at the end.

    `size` and `tile` are multiples of `step`, and so are the results.
    """
    if size <= tile:
        return [0]
    stride = max((tile - overlap) // step * step, step)
    gaps = math.ceil((size - tile) / stride)
    return [i * (size - tile) // (gaps * step) * step for i in range(gaps)] + [size - tile]


def window(tile: int, overlap: int) -> Tensor:
    """Weights along a tile: sin^2(pi/2 sin^2(pi/2 u)) over `overlap` at both ends, u in (0, 1).

    (tile,) fp32 in (0, 1]. A raised cosine of a raised cosine, Vorbis' window: of the outermost
    pixels, which a network knows least about, next to nothing is taken.
    """
    rise, u = torch.ones(tile), (torch.arange(overlap) + 0.5) / max(overlap, 1)
    rise[:overlap] = torch.sin(math.pi / 2 * torch.sin(math.pi / 2 * u) ** 2) ** 2
    return torch.minimum(rise, rise.flip(0))


def shares(size: int, begins: Sequence[int], weights: Tensor) -> list[Tensor]:
    """Every tile's share of the mean of it and those before it: (tile,) each, in (0, 1], fp32.

    mean <- mean + share (tile - mean), tile after tile, gives the mean weighted by `weights`.
    """
    total, found = torch.zeros(size), []
    for begin in begins:
        seen = total[begin : begin + len(weights)]
        seen += weights
        found.append(weights / seen)
    return found


@torch.no_grad()
def tiled(
    function: Function,
    x: Tensor,
    tiling: Tiling,
    factor: Fraction = Fraction(1),
    store: torch.device | str | None = None,
) -> Tensor:
    """`function` over x, tile by tile: (1, C, H, W) => (1, C', factor H, factor W), fp32.

    `factor` is 1/r for an encoder, 1 for a denoiser, r for a decoder. The result is put together on
    the device `store`, or where x is. Where tiles agree it is what they say, bit by bit.
    """
    sides = x.shape[-2:]
    tall, wide = (min(tiling.tile, side) for side in sides)
    tops, lefts = (starts(side, tiling.tile, tiling.overlap, tiling.step) for side in sides)
    boxes = [Box(top=t, left=s, height=tall, width=wide) for t in tops for s in lefts]
    groups = (boxes[i : i + tiling.batch] for i in range(0, len(boxes), tiling.batch))
    results = (
        tile.to(store or x.device, torch.float32)
        for some in groups
        for tile in function(torch.cat([box.of(x) for box in some]), some).split(1)
    )
    rows = (_blended(results, lefts, sides[1], -1, tiling.overlap, factor) for _ in tops)
    return _blended(rows, tops, sides[0], -2, tiling.overlap, factor)


def _blended(
    parts: Iterator[Tensor], begins: Sequence[int], side: int, dim: int, overlap: int,
    factor: Fraction,
) -> Tensor:  # fmt: skip
    """The next len(begins) of `parts` as one, each from its beginning on along `dim`.

    Beginnings, `side` and `overlap` are those of what the parts were made from.
    """
    first = next(parts)
    if len(begins) == 1:
        return first
    length, shape = first.shape[dim], list(first.shape)
    shape[dim] = size = _whole(side * factor)
    out = torch.zeros(shape, device=first.device)
    weights = window(length, min(math.ceil(overlap * factor), length))
    places = [_whole(begin * factor) for begin in begins]
    for place, share in zip(places, shares(size, places, weights), strict=True):
        part = first if place == 0 else next(parts)
        share = share.to(out.device).view([-1] + [1] * (-1 - dim))
        out.narrow(dim, place, length).lerp_(part, share)
    return out


def _whole(value: Fraction) -> int:
    if value.denominator != 1:
        raise ValueError(f"sides must be multiples of what they are divided by, got {value}")
    return value.numerator

"""Colour alignment of a restored image with the LQ image it came from."""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Alignment = Literal["adain", "wavelet", "none"]
Rows = Callable[[int, int], Tensor]
"""(first, end) => these rows of an image: (B, 3, end - first, W)."""
Ranges = list[tuple[int, int]]
Bands = Iterator[tuple[int, Tensor]]
LEVELS = 5
"""Filters of the wavelet alignment."""
BAND = 4_000_000
"""Pixels that are aligned at once."""


def align(x_sr: Tensor, x_lq: Tensor, how: Alignment) -> Tensor:
    """Gives x_sr the colours of x_lq: (B, 3, H, W) twice, in [-1, 1] => (B, 3, H, W)."""
    if x_sr.shape != x_lq.shape:
        raise ValueError(f"sizes differ: {tuple(x_sr.shape)} and {tuple(x_lq.shape)}")
    known = {"adain": adain, "wavelet": wavelet, "none": lambda x_sr, _: x_sr}
    if how not in known:
        raise ValueError(f"colour alignment {how!r} is unknown; use adain, wavelet or none")
    return known[how](x_sr, x_lq)


def bands(x_sr: Tensor, lq: Rows, how: Alignment, pixels: int = BAND) -> Bands:
    """What `align` gives, in bands of about `pixels`: (first row, (B, 3, rows, W)) of each.

    The images are aligned as wholes, but never is all of the LQ image there, nor a second copy of
    the restored one.
    """
    height, width = x_sr.shape[2:]
    rows = max(pixels // width, 1)
    if rows >= height:
        yield 0, align(x_sr, lq(0, height), how)
        return
    ranges = [(first, min(first + rows, height)) for first in range(0, height, rows)]
    if how == "adain":
        yield from _adain_bands(x_sr, lq, ranges)
    elif how == "wavelet":
        yield from _wavelet_bands(x_sr, lq, ranges)
    else:
        yield from ((a, align(x_sr[:, :, a:b], lq(a, b), how)) for a, b in ranges)


def adain(x_sr: Tensor, x_lq: Tensor) -> Tensor:
    """Mean and deviation of every channel taken from x_lq (Huang and Belongie, 2017)."""
    mean_sr, mean_lq = (x.mean((2, 3), keepdim=True) for x in (x_sr, x_lq))
    std_sr, std_lq = (x.std((2, 3), keepdim=True, correction=0) for x in (x_sr, x_lq))
    return (x_sr - mean_sr) / std_sr.clamp_min(1e-5) * std_lq + mean_lq


def wavelet(x_sr: Tensor, x_lq: Tensor) -> Tensor:
    """Details of x_sr on the low frequencies of x_lq: LEVELS dilated binomial filters.

    On small images fewer levels are used, at least one: the filter must fit into the image.
    """
    levels = _fitting(x_sr)
    return x_sr - _low(x_sr, levels) + _low(x_lq, levels)


def _fitting(x: Tensor) -> int:
    return min(LEVELS, max(min(x.shape[-2:]).bit_length() - 2, 1))


def _low(x: Tensor, levels: int) -> Tensor:
    """X after `levels` 3 x 3 binomial filters of dilation 1, 2, 4, ..."""
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    for level in range(levels):
        step = 2**level
        padded = F.pad(x, (step,) * 4, mode="replicate")
        x = F.conv2d(padded, kernel, dilation=step, groups=x.shape[1])
    return x


def _adain_bands(x_sr: Tensor, lq: Rows, ranges: Ranges) -> Bands:
    mean_sr, std_sr = _statistics(lambda a, b: x_sr[:, :, a:b], ranges)
    mean_lq, std_lq = _statistics(lq, ranges)
    for a, b in ranges:
        yield a, (x_sr[:, :, a:b] - mean_sr) / std_sr.clamp_min(1e-5) * std_lq + mean_lq


def _statistics(rows: Rows, ranges: Ranges) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel of an image that comes in bands: (B, C, 1, 1) each."""
    total: Tensor | float = 0.0
    square: Tensor | float = 0.0
    count = 0
    for a, b in ranges:
        total = total + rows(a, b).sum((2, 3), keepdim=True).cpu().double()
        count += (b - a) * rows(a, b).shape[3]
    mean = torch.as_tensor(total / count)
    for a, b in ranges:
        band = rows(a, b)
        deviation = band - mean.to(band)
        square = square + deviation.square().sum((2, 3), keepdim=True).cpu().double()
    std = torch.as_tensor(square / count).sqrt()
    like = rows(0, 1)
    return mean.to(like), std.to(like)


def _wavelet_bands(x_sr: Tensor, lq: Rows, ranges: Ranges) -> Bands:
    """Every band with as many rows around it as the filters reach."""
    levels, height = _fitting(x_sr), x_sr.shape[2]
    reach = 2**levels - 1
    for a, b in ranges:
        first, end = max(a - reach, 0), min(b + reach, height)
        low_sr, low_lq = (_low(x, levels) for x in (x_sr[:, :, first:end], lq(first, end)))
        inside = slice(a - first, b - first)
        yield a, x_sr[:, :, a:b] - low_sr[:, :, inside] + low_lq[:, :, inside]

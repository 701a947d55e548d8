"""Colour alignment of a restored image with the LQ image it came from."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Alignment = Literal["adain", "wavelet", "none"]


def align(x_sr: Tensor, x_lq: Tensor, how: Alignment) -> Tensor:
    """Gives x_sr the colours of x_lq: (B, 3, H, W) twice, in [-1, 1] => (B, 3, H, W)."""
    if x_sr.shape != x_lq.shape:
        raise ValueError(f"sizes differ: {tuple(x_sr.shape)} and {tuple(x_lq.shape)}")
    if how == "adain":
        return adain(x_sr, x_lq)
    if how == "wavelet":
        return wavelet(x_sr, x_lq)
    if how == "none":
        return x_sr
    raise ValueError(f"colour alignment {how!r} is unknown; use adain, wavelet or none")


def adain(x_sr: Tensor, x_lq: Tensor) -> Tensor:
    """Mean and deviation of every channel taken from x_lq (Huang and Belongie, 2017)."""
    mean_sr, mean_lq = (x.mean((2, 3), keepdim=True) for x in (x_sr, x_lq))
    std_sr, std_lq = (x.std((2, 3), keepdim=True, correction=0) for x in (x_sr, x_lq))
    return (x_sr - mean_sr) / std_sr.clamp_min(1e-5) * std_lq + mean_lq


def wavelet(x_sr: Tensor, x_lq: Tensor, levels: int = 5) -> Tensor:
    """Details of x_sr on the low frequencies of x_lq: `levels` dilated binomial filters.

    On small images fewer levels are used, at least one: the filter must fit into the image.
    """
    smallest = min(x_sr.shape[-2:])
    levels = min(levels, max(smallest.bit_length() - 2, 1))
    return x_sr - _low(x_sr, levels) + _low(x_lq, levels)


def _low(x: Tensor, levels: int) -> Tensor:
    """X after `levels` 3 x 3 binomial filters of dilation 1, 2, 4, ..."""
    taps = torch.tensor([0.25, 0.5, 0.25], dtype=x.dtype, device=x.device)
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    for level in range(levels):
        step = 2**level
        padded = F.pad(x, (step,) * 4, mode="replicate")
        x = F.conv2d(padded, kernel, dilation=step, groups=x.shape[1])
    return x

"""The regular pattern that transformers leave in pictures: a measure of it, and a loss against it.

Tokens of p x p pixels that are decoded alike repeat every p pixels: power at multiples of 1/p
cycles a pixel, where a photograph has none in particular.
"""

import torch
from torch import Tensor, nn

ASIDE = 3
"""Bins from a multiple to what is beside it: a Hann window spreads a peak over one bin each way."""


class Pattern(nn.Module):
    """The measure as a metric without a reference, lower better."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.period = period

    def forward(self, x: Tensor) -> Tensor:
        """Images in [0, 1], (B, 3, H, W) => decibels, (B,)."""
        return pattern(x, self.period)


def smallest(period: int) -> int:
    """Least side of a picture, pixels: what is beside one multiple is not beside the next."""
    return 2 * (ASIDE + 1) * period


def pattern(x: Tensor, period: int) -> Tensor:
    """Power at multiples of 1 / period over that beside, decibels: (B, 3, H, W) => (B,).

    Of the mean of the channels under a Hann window: the mean over all multiples of the logarithm of
    their power less that of the eight places beside each. About 0 where there is no pattern, for
    any range of `x`. Raises ValueError where a side is less than `smallest(period)`.
    """
    height, width = (side // period * period for side in x.shape[2:])
    if min(height, width) < smallest(period):
        raise ValueError(
            f"a pattern of {period} px is seen from {smallest(period)} px a side, "
            f"got {tuple(x.shape[2:])}"
        )
    grey = x[..., :height, :width].double().mean(1)
    window = torch.hann_window(height, dtype=grey.dtype, device=x.device)[:, None]
    window = window * torch.hann_window(width, dtype=grey.dtype, device=x.device)
    grey = grey - (grey * window).sum((1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2(grey * window).abs().square()
    decibels = 10 * torch.log10(power + 1e-12 * power.mean((1, 2), keepdim=True))
    steps = (-ASIDE, 0, ASIDE)
    beside = torch.stack(
        [decibels.roll((i, j), (1, 2)) for i in steps for j in steps if i or j]
    ).mean(0)
    found = (decibels - beside)[:, :: height // period, :: width // period].flatten(1)
    return found[:, 1:].mean(1)  # without the mean of the picture


def repeated(x: Tensor, period: int) -> Tensor:
    """What of images repeats in every `period` x `period` pixels: (B, C, H, W) => (B, C, p, p).

    The mean over the squares; by Parseval its power is that at the multiples of 1 / period. What is
    over at the far edges is left out. Raises ValueError where a side is less than the period.
    """
    rows, columns = (side // period for side in x.shape[2:])
    if not rows or not columns:
        raise ValueError(f"a period of {period} px needs as many a side, got {tuple(x.shape[2:])}")
    x = x[..., : rows * period, : columns * period]
    return x.unflatten(3, (columns, period)).unflatten(2, (rows, period)).mean((2, 4))

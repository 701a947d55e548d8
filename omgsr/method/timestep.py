"""The average optimal mid-timestep t* in closed form (Eqs. 4, 5 and 19).

For image i let P_i = E[z_H^2] and N_i = E[(z_L - z_H)^2], means over the one latent. Then

    |SNR(z_t) - SNR(z_L)| = P_i |s_t - 1 / N_i|,     s_t = signal_t^2 / noise_t^2

so the best real s is the P-weighted median of 1/N_i, and t* is one of the two timesteps whose s_t
enclose it. One pass over the images stores (P_i, N_i); no search over t is needed, and the same
numbers give a bootstrap interval and the curve.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Result:
    """t* of a set of images."""

    t: int
    """The timestep with the smallest mean gap, 1 to the schedule's last."""
    images: int
    low: int
    high: int
    """2.5 and 97.5 % quantiles of t* over bootstrap resamplings of the images."""
    below: float
    """Share of images whose own best timestep is smaller than t."""
    above: float
    """Share of images whose own best timestep is larger than t."""
    gap: float
    """Mean |SNR(z_t) - SNR(z_L)| at t (Eq. 5)."""

    def as_dict(self) -> dict[str, float]:
        """Plain numbers, for JSON."""
        return asdict(self)


def moments(z_hq: Tensor, z_lq: Tensor) -> tuple[Tensor, Tensor]:
    """Power P and error N of every image: (B, C, H, W), (B, C, H, W) => (B,), (B,) float64."""
    if z_hq.shape != z_lq.shape:
        raise ValueError(f"latents differ in shape: {tuple(z_hq.shape)}, {tuple(z_lq.shape)}")
    z_hq, z_lq = z_hq.double(), z_lq.double()
    axes = tuple(range(1, z_hq.ndim))
    return z_hq.square().mean(axes), (z_lq - z_hq).square().mean(axes)


def curve(power: Floats, error: Floats, snr: Floats) -> Floats:
    """The mean gap of Eq. 5 at every timestep: (N,), (N,), (T,) => (T,)."""
    _check(power, error)
    return np.array([np.mean(power * np.abs(s - 1 / error)) for s in snr])


def find(power: Floats, error: Floats, snr: Floats, bootstrap: int, seed: int) -> Result:
    """t* with its interval from per-image moments (N,) and s_t for t = 1..T, falling.

    `bootstrap` resamplings of the images give the interval; `seed` seeds them.
    Raises ValueError for an empty set, a zero or non-finite moment.
    """
    index = best(power, error, snr) - 1
    samples = _bootstrap(power, error, snr, bootstrap, seed)
    own = per_image(error, snr)
    low, high = np.quantile(samples, [0.025, 0.975], method="nearest")
    return Result(
        t=index + 1,
        images=len(power),
        low=int(low),
        high=int(high),
        below=float(np.mean(own < index + 1)),
        above=float(np.mean(own > index + 1)),
        gap=float(np.mean(power * np.abs(snr[index] - 1 / error))),
    )


def best(power: Floats, error: Floats, snr: Floats) -> int:
    """t* alone, without an interval: (N,), (N,), (T,) => 1..T."""
    _check(power, error)
    order = np.argsort(1 / error, kind="stable")
    return _best(power[order], 1 / error[order], snr) + 1


def per_image(error: Floats, snr: Floats) -> Whole:
    """The best timestep of each image alone, where s_t is nearest to 1 / N_i: (N,) => (N,).

    Of two equally good timesteps the smaller one.
    """
    rising = snr[::-1]
    right = np.clip(np.searchsorted(rising, 1 / error), 1, len(rising) - 1)
    nearer_left = 1 / error - rising[right - 1] < rising[right] - 1 / error
    return len(rising) - np.where(nearer_left, right - 1, right)


def _best(weights: Floats, wanted: Floats, snr: Floats) -> int:
    """Index in `snr` of the least sum w_i |s_t - x_i| for sorted x; the sum is convex in s.

    That is the better of the two timesteps around the weighted median of x.
    """
    total = np.cumsum(weights)
    median = wanted[np.searchsorted(total, total[-1] / 2)]
    after = int(np.searchsorted(-snr, -median))  # first index with s_t <= median
    # One further on each side costs nothing and keeps ties and rounding harmless.
    candidates = range(max(after - 2, 0), min(after + 2, len(snr)))
    return min(candidates, key=lambda i: float(np.sum(weights * np.abs(snr[i] - wanted))))


def _bootstrap(power: Floats, error: Floats, snr: Floats, count: int, seed: int) -> Whole:
    """t* of `count` resamplings of the images: (count,)."""
    order = np.argsort(1 / error, kind="stable")
    power, wanted = power[order], 1 / error[order]
    rng = np.random.default_rng(seed)
    evenly = np.full(len(power), 1 / len(power))
    found = np.empty(count, dtype=np.int64)
    for i in range(count):  # one at a time: all at once would be count x N numbers
        times = rng.multinomial(len(power), evenly)
        drawn = times > 0
        found[i] = _best(power[drawn] * times[drawn], wanted[drawn], snr) + 1
    return found


def _check(power: Floats, error: Floats) -> None:
    if not len(power) or power.shape != error.shape:
        raise ValueError(f"t* needs images: got {power.shape} powers and {error.shape} errors")
    if not (np.isfinite(power).all() and np.isfinite(error).all()):
        raise ValueError("a latent is not finite; check the images and the VAE's precision")
    if (error <= 0).any() or (power <= 0).any():
        bad = np.flatnonzero((error <= 0) | (power <= 0))
        raise ValueError(
            f"image {bad[0]} has zero latent power or an LQ latent equal to its HQ latent; "
            "is the LQ image a copy of the HQ image?"
        )


def snr_array(snr: Tensor) -> Floats:
    """s_t of t = 1..T as float64 NumPy, (T,); refuses a schedule whose SNR does not fall with t."""
    if not torch.all(snr[1:] < snr[:-1]):
        raise ValueError("the schedule's signal-to-noise ratio must fall with t")
    return snr.double().cpu().numpy()

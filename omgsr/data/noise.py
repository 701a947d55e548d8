"""Sensor noise of the Real-ESRGAN degradation on float32 images (H, W, 3) in [0, 255]."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtr

Image = NDArray[np.float32]

_BITS = 14  # a Poisson draw picks one of 2^14 equally likely quantiles


def add_gaussian(image: Image, sigma: float, grey: bool, rng: np.random.Generator) -> Image:
    """Adds N(0, sigma^2), the same to all channels if `grey`; sigma in grey levels of 255."""
    shape = (*image.shape[:2], 1) if grey else image.shape
    noise = rng.standard_normal(shape, dtype=np.float32)
    noise *= np.float32(sigma)
    return _add(image, noise)


def add_poisson(image: Image, scale: float, grey: bool, rng: np.random.Generator) -> Image:
    """Adds `scale` times the shot noise Poisson(v q) / v - q of the image q in [0, 1].

    q is the image rounded to 8 bits, or its luma if `grey`, and v the number of its different
    levels, rounded up to a power of two: few levels are taken for little light.
    """
    source = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] if grey else image
    levels = cv2.convertScaleAbs(np.maximum(source, 0)).reshape(source.shape)
    different = int(np.count_nonzero(np.bincount(levels.ravel(), minlength=256)))
    table = _shot_noise(1 << (different - 1).bit_length())
    draws = np.frombuffer(rng.bytes(2 * levels.size), "<u2").reshape(levels.shape)
    # One row of the table per level: the index is the level's bits, then the random ones.
    index = levels.astype(np.int64)
    index <<= _BITS
    index |= draws & ((1 << _BITS) - 1)
    noise = table.take(index)
    noise *= np.float32(scale)
    return _add(image, noise)


def _add(image: Image, noise: Image) -> Image:
    out = image + noise
    return np.clip(out, 0, 255, out=out)


@lru_cache(maxsize=4)
def _shot_noise(v: int) -> Image:
    """Quantiles of the noise of every level: float32 (256 * 2^bits,), grey levels.

    The mean v q takes 256 values at most, so a table of quantiles replaces a sampler that works
    out every pixel from its mean. Every probability in it is right to 2^-bits.
    """
    q = np.arange(256) / 255
    counts = np.arange(int(v + 10 * np.sqrt(v) + 20))
    cumulative = np.rint(pdtr(counts, v * q[:, None]) * (1 << _BITS)).astype(np.int64)
    repeats = np.diff(cumulative, axis=1, prepend=0)
    noise = (255 * (counts / v - q[:, None])).astype(np.float32)
    return np.repeat(noise.ravel(), repeats.ravel())

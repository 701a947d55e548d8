"""Dead-leaves images: equal seeds give equal bytes, and the statistics resemble photographs'."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omgsr.core import seeding
from omgsr.data.dead_leaves import dead_leaves


def leaves(seed: int, height: int = 64, width: int = 64) -> np.ndarray:
    return dead_leaves(seeding.rng(seed, "leaves"), height, width)


@pytest.mark.parametrize("size", [(64, 64), (48, 96), (33, 17), (8, 8)])
def test_shape_type_and_contrast(size: tuple[int, int]) -> None:
    image = leaves(0, *size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert image.std() > 5


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    np.testing.assert_array_equal(leaves(3), leaves(3))
    assert (leaves(3) != leaves(4)).mean() > 0.9


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 100))
@settings(max_examples=15)
def test_any_size_is_drawn(height: int, width: int, seed: int) -> None:
    assert leaves(seed, height, width).shape == (height, width, 3)


def test_the_spectrum_falls_like_that_of_photographs() -> None:
    """Power ~ 1/f^2 or so (photographs: exponents of 1.5 to 2.7 or so); white noise has 0."""
    power = np.zeros((128, 128))
    for seed in range(6):
        grey = leaves(seed, 128, 128).mean(2)
        window = np.outer(np.hanning(128), np.hanning(128))
        power += np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
    rings = [(2.0**k / 128, 2.0 ** (k + 1) / 128) for k in range(1, 5)]
    means = [power[(frequency >= low) & (frequency < high)].mean() for low, high in rings]
    slope = np.polyfit(np.arange(4), np.log2(means), 1)[0]
    assert -3.2 < slope < -1.3


def test_edges_are_sparse() -> None:
    """Most neighbours are alike and few differ a lot: a kurtosis far above Gaussian noise's 3."""
    steps = np.concatenate(
        [np.diff(leaves(seed, 96, 96).astype(float), axis=1).ravel() for seed in range(4)]
    )
    kurtosis = np.mean((steps - steps.mean()) ** 4) / np.var(steps) ** 2
    assert kurtosis > 6

"""Sizes: Pillow's own bicubic, borders by reflection, small images at the model's size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omgsr.core import images
from omgsr.inference import scaling


def picture(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, np.iinfo(dtype).max, (height, width, 3), dtype, endpoint=True)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_whole_factors_are_those_of_the_benchmarks(scale: int) -> None:
    image = picture(13, 7)
    wanted = images.upscale(image, scale)
    np.testing.assert_array_equal(scaling.resize(image, (13 * scale, 7 * scale)), wanted)


@given(
    height=st.integers(1, 30), width=st.integers(1, 30), tall=st.integers(1, 60),
    wide=st.integers(1, 60), dtype=st.sampled_from([np.uint8, np.uint16]),
)  # fmt: skip
def test_every_size_becomes_every_other(
    height: int, width: int, tall: int, wide: int, dtype: type
) -> None:
    image = picture(height, width, dtype)
    out = scaling.resize(image, (tall, wide))
    assert (out.shape, out.dtype) == ((tall, wide, 3), dtype)
    floating = scaling.resize(image.astype(np.float32), (tall, wide))
    assert floating.shape == out.shape
    if dtype == np.uint16:  # uint8 is Pillow's own arithmetic, rounded in between
        assert np.abs(floating.clip(0, 65535) - out).max() <= 0.51


def test_sixteen_bits_are_kept() -> None:
    """A ramp of levels that eight bits do not have."""
    ramp = np.linspace(30000, 30100, 64).astype(np.uint16)
    image = np.repeat(np.tile(ramp, (4, 1))[..., None], 3, axis=2)
    out = scaling.resize(image, (16, 256))
    assert len(np.unique(out)) > 64
    assert 29990 <= out.min() <= out.max() <= 30110


def test_an_overshoot_is_cut_and_does_not_wrap_around() -> None:
    edge = np.zeros((8, 8, 3), np.uint16)
    edge[:, 4:] = 65535
    out = scaling.resize(edge, (32, 32))
    assert out[:, :8].max() < 4000
    assert out[:, -8:].min() > 61000


def test_where_a_side_is_reduced_every_pixel_counts() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(scaling.resize(stripes, (32, 4)).astype(int) - 100).max() <= 12


def test_the_size_that_is_there_is_left_alone() -> None:
    image = picture(5, 6)
    assert scaling.resize(image, (5, 6)) is image


@pytest.mark.parametrize(
    ("size", "least", "working"),
    [
        ((300, 200), None, (300, 200)),
        ((512, 700), 512, (512, 700)),
        ((256, 128), 512, (1024, 512)),
        ((100, 150), 512, (512, 768)),
        ((4, 1200), 512, (14, 4096)),  # not 512 x 153600
        ((4, 5000), 512, (4, 5000)),  # longer than that already
        ((1, 1), 64, (64, 64)),
    ],
)
def test_small_results_are_restored_at_the_size_of_the_model(
    size: tuple[int, int], least: int | None, working: tuple[int, int]
) -> None:
    assert scaling.working_size(size, least) == working
    assert scaling.working_size(size[::-1], least) == working[::-1]


@given(
    height=st.integers(1, 20), width=st.integers(1, 20), multiple=st.sampled_from([1, 2, 4, 8, 64])
)
def test_padding_ends_on_multiples_and_adds_at_bottom_and_right_alone(
    height: int, width: int, multiple: int
) -> None:
    image = picture(height, width)
    padded = scaling.pad(image, multiple)
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert padded.shape[0] - height < multiple
    assert padded.shape[1] - width < multiple
    np.testing.assert_array_equal(padded[:height, :width], image)


def test_padding_reflects_where_the_image_is_large_enough() -> None:
    image = np.repeat(np.arange(15).reshape(3, 5, 1), 3, axis=2)
    padded = scaling.pad(image, 4)[..., 0]
    assert padded[0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    assert padded[3].tolist() == [5, 6, 7, 8, 9, 8, 7, 6]
    small = scaling.pad(np.repeat(np.array([[[1], [2]]]), 3, axis=2), 4)[..., 0]
    assert small.tolist() == [[1, 2, 2, 2]] * 4

"""Tiles: windows that sum to one, any size covered, nothing changed where tiles agree."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from omgsr.inference.tiling import Box, Tiling, shares, starts, tiled, window


def image(height: int, width: int, channels: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(height * 1000 + width)
    return torch.rand(1, channels, height, width, generator=rng)


def same(tiles: Tensor, boxes: Sequence[Box]) -> Tensor:
    return tiles


@given(tile=st.integers(1, 300), part=st.integers(0, 100))
def test_windows_are_symmetric_and_never_zero(tile: int, part: int) -> None:
    overlap = (tile - 1) * part // 100
    weights = window(tile, overlap)
    assert weights.shape == (tile,)
    assert weights.dtype == torch.float32
    assert torch.equal(weights, weights.flip(0))
    assert float(weights.min()) > 0
    assert float(weights.max()) <= 1
    if overlap <= tile // 2:
        assert torch.equal(weights[overlap : tile - overlap], torch.ones(tile - 2 * overlap))
        facing = weights[:overlap] + weights[tile - overlap :]  # of two neighbours
        torch.testing.assert_close(facing, torch.ones(overlap))
        assert (weights[:overlap].diff() > 0).all(), "rises all the way"


def test_the_outermost_pixels_count_least() -> None:
    weights = window(64, 16)
    assert float(weights[0]) < 1e-4
    assert float(weights[8]) > 0.5 > float(weights[7])


@given(
    tile=st.integers(1, 12), more=st.integers(0, 60), part=st.integers(0, 100),
    step=st.sampled_from([1, 2, 8]),
)  # fmt: skip
def test_tiles_cover_a_side_and_overlap_enough(tile: int, more: int, part: int, step: int) -> None:
    tile, size = tile * step, (tile + more) * step
    overlap = (tile - 1) * part // 100
    begins = starts(size, tile, overlap, step)
    assert begins[0] == 0
    assert begins[-1] == size - tile
    assert not any(begin % step for begin in begins)
    gaps = [b - a for a, b in pairwise(begins)]
    assert all(0 < gap <= max(tile - overlap, step) for gap in gaps)
    if gaps:
        assert max(gaps) - min(gaps) <= step, "evenly spread"
        stride = max((tile - overlap) // step * step, step)
        assert (len(gaps) - 1) * stride < size - tile, "no more than are needed"


@given(size=st.integers(1, 60), tile=st.integers(1, 30), part=st.integers(0, 100))
def test_shares_make_the_weighted_mean(size: int, tile: int, part: int) -> None:
    """The weight a tile has in the end is its window over the sum of all windows there."""
    tile = min(tile, size)
    overlap = (tile - 1) * part // 100
    begins, weights = starts(size, tile, overlap), window(tile, overlap)
    total, final = torch.zeros(size, dtype=torch.float64), torch.zeros(len(begins), size)
    for i, (begin, share) in enumerate(zip(begins, shares(size, begins, weights), strict=True)):
        total[begin : begin + tile] += weights
        final[:, begin : begin + tile] *= 1 - share
        final[i, begin : begin + tile] = share
    torch.testing.assert_close(final.sum(0), torch.ones(size))
    for i, begin in enumerate(begins):
        wanted = (weights / total[begin : begin + tile]).float()
        torch.testing.assert_close(final[i, begin : begin + tile], wanted, atol=1e-6, rtol=1e-5)


@given(
    height=st.integers(1, 50), width=st.integers(1, 50), tile=st.integers(1, 20),
    part=st.integers(0, 100), batch=st.integers(1, 5),
)  # fmt: skip
def test_what_is_not_changed_comes_back_bit_by_bit(
    height: int, width: int, tile: int, part: int, batch: int
) -> None:
    x = image(height, width)
    tiling = Tiling(tile=tile, overlap=(tile - 1) * part // 100, batch=batch)
    seen: list[tuple[int, ...]] = []

    def function(tiles: Tensor, boxes: Sequence[Box]) -> Tensor:
        assert len(tiles) == len(boxes) <= batch
        seen.extend(tile.shape for tile in tiles)
        for one, box in zip(tiles, boxes, strict=True):
            assert torch.equal(one, box.of(x)[0])
        return tiles

    assert torch.equal(tiled(function, x, tiling), x)
    assert set(seen) == {(3, min(tile, height), min(tile, width))}, "no tile is smaller than asked"


@given(
    height=st.integers(1, 12), width=st.integers(1, 12), tile=st.integers(1, 6),
    part=st.integers(0, 100), r=st.sampled_from([2, 4, 8]),
)  # fmt: skip
def test_encoders_and_decoders_change_the_size(
    height: int, width: int, tile: int, part: int, r: int
) -> None:
    """Pixels to latents and back, with tiles that begin at multiples of the reduction."""
    x = image(height * r, width * r)
    overlap = (tile * r - 1) * part // 100
    tiling = Tiling(tile=tile * r, overlap=overlap, step=r)
    reduced = tiled(lambda t, _: F.avg_pool2d(t, r), x, tiling, Fraction(1, r))
    assert torch.equal(reduced, F.avg_pool2d(x, r))
    enlarged = tiled(
        lambda t, _: F.interpolate(t, scale_factor=float(r)),
        reduced,
        tiling.reduced(r),
        Fraction(r),
    )
    assert torch.equal(enlarged, F.interpolate(reduced, scale_factor=float(r)))


def test_tiles_that_disagree_pass_into_each_other_without_a_step() -> None:
    def numbered(tiles: Tensor, boxes: Sequence[Box]) -> Tensor:
        return torch.stack(
            [torch.full_like(t, (b.left + b.top) // 24) for t, b in zip(tiles, boxes, strict=True)]
        )

    out = tiled(numbered, torch.zeros(1, 1, 80, 80), Tiling(tile=32, overlap=16))
    assert float(out.max() - out.min()) > 2
    steepest = max(float(out.diff(dim=dim).abs().max()) for dim in (2, 3))
    hard = tiled(numbered, torch.zeros(1, 1, 80, 80), Tiling(tile=32, overlap=0))
    assert steepest < 0.25
    assert float(hard.diff(dim=3).abs().max()) >= 0.5, "without overlap there would be one"


def test_half_precision_tiles_are_put_together_in_fp32() -> None:
    x = image(20, 20)
    out = tiled(lambda t, _: t.half(), x, Tiling(tile=8, overlap=2))
    assert out.dtype == torch.float32
    assert torch.equal(out, x.half().float())


def test_a_whole_image_is_one_call() -> None:
    calls = []

    def function(tiles: Tensor, boxes: Sequence[Box]) -> Tensor:
        calls.append(boxes)
        return tiles

    tiled(function, image(16, 9), Tiling(tile=16, overlap=4))
    assert calls == [[Box(top=0, left=0, height=16, width=9)]]
    tiled(function, image(8, 17), Tiling(tile=16, overlap=4))
    assert len(calls) == 3


@pytest.mark.parametrize("overlap", [16, 17, -1])
def test_an_overlap_that_is_no_less_than_the_tile_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match=rf"overlap: got {overlap}, allowed: 0..15, less than"):
        Tiling(tile=16, overlap=overlap)


@pytest.mark.parametrize("tile", [0, -8, 12])
def test_a_tile_that_the_network_cannot_take_is_refused(tile: int) -> None:
    with pytest.raises(ValueError, match=f"tile: got {tile}, allowed: multiples of 8"):
        Tiling(tile=tile, overlap=0, step=8)


def test_sides_that_the_factor_does_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of what they are divided by, got 21/2"):
        tiled(
            lambda t, _: F.avg_pool2d(t, 2),
            image(21, 21),
            Tiling(tile=8, overlap=2),
            Fraction(1, 2),
        )

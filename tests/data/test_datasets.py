"""Pairs stay aligned, and their order depends on the seed and the position alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omgsr.core import images
from omgsr.data.datasets import Pairs, _order, batches
from omgsr.data.manifest import Row
from tests.helpers import models


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """HQ is the LQ with every pixel repeated 4 x 4, so that any shift between them shows."""
    folder = tmp_path_factory.mktemp("pairs")
    made = models.write_pairs(folder, 7, sizes=(32, 48, 32, 64, 32, 40, 32))
    for row in made:
        lq = images.read_rgb(row.lq)
        images.write_png(row.hq, lq.repeat(4, axis=0).repeat(4, axis=1))
    return made


def drawn(pairs: Pairs, first: int, last: int, workers: int = 0) -> list[list[torch.Tensor]]:
    return list(batches(pairs, 2, range(first, last), workers))


@pytest.mark.parametrize("crop", [None, 16, 32])
def test_lq_and_hq_show_the_same_place(rows: list[Row], crop: int | None) -> None:
    pairs, flipped, places = Pairs(rows, 4, crop, seed=0), 0, set()
    for position in range(40):
        x_lq, x_hq, name = pairs[position, 1]
        assert name == rows[1].name
        assert x_lq.shape == x_hq.shape == (3, crop or 48, crop or 48)
        hq = images.to_array(x_hq)
        lq = hq[::4, ::4]
        np.testing.assert_array_equal(images.to_array(x_lq), images.upscale(lq, 4))
        whole = images.read_rgb(rows[1].hq)
        where = [
            (top, left, flip)
            for flip in (False, True)
            for top in range(0, 48 - len(hq) + 1, 4)
            for left in range(0, 48 - len(hq) + 1, 4)
            if np.array_equal(
                hq[:, ::-1] if flip else hq, whole[top : top + len(hq), left : left + len(hq)]
            )
        ]
        assert len(where) == 1
        places.add(where[0][:2])
        flipped += where[0][2]
    assert 8 <= flipped <= 32
    assert len(places) == {None: 1, 16: len(places), 32: len(places)}[crop]
    assert crop is None or len(places) > 10


def test_an_item_depends_on_its_position_and_the_seed(rows: list[Row]) -> None:
    pairs, other = Pairs(rows, 4, 16, seed=0), Pairs(rows, 4, 16, seed=1)
    assert torch.equal(pairs[3, 1][1], pairs[3, 1][1])
    assert len({float(pairs[p, 1][1].sum()) for p in range(10)}) > 3
    assert any(not torch.equal(pairs[p, 1][1], other[p, 1][1]) for p in range(5))


@given(
    count=st.integers(1, 12),
    batch=st.integers(1, 5),
    first=st.integers(0, 20),
    more=st.integers(0, 20),
)
def test_any_part_of_the_order_is_that_part_of_the_whole(
    count: int, batch: int, first: int, more: int
) -> None:
    whole = list(_order(count, batch, range(first + more), seed=5))
    part = list(_order(count, batch, range(first, first + more), seed=5))
    assert part == whole[first:]
    assert len(part) == more


@given(count=st.integers(1, 12), epochs=st.integers(1, 4))
def test_every_epoch_shows_every_row_once(count: int, epochs: int) -> None:
    items = [item for group in _order(count, 1, range(count * epochs), seed=0) for item in group]
    assert [position for position, _ in items] == list(range(count * epochs))
    for epoch in range(epochs):
        rows = [index for _, index in items[epoch * count : (epoch + 1) * count]]
        assert sorted(rows) == list(range(count))


def test_epochs_and_seeds_differ_in_order() -> None:
    first, second = (
        [item[1] for [item] in _order(20, 1, range(start, start + 20), seed=0)] for start in (0, 20)
    )
    other = [item[1] for [item] in _order(20, 1, range(20), seed=1)]
    assert first != second
    assert first != other


@given(count=st.integers(1, 30), processes=st.integers(1, 4), steps=st.integers(1, 6))
def test_processes_share_the_batches_of_one(count: int, processes: int, steps: int) -> None:
    """Every process gets its own pairs, and together they are those of a single process."""
    alone = list(_order(count, 2, range(processes * steps), seed=0))
    shares = [
        list(_order(count, 2, range(rank, processes * steps, processes), seed=0))
        for rank in range(processes)
    ]
    together = [share[step] for step in range(steps) for share in shares]
    assert together == alone


def test_the_number_of_workers_does_not_matter(rows: list[Row]) -> None:
    pairs = Pairs(rows, 4, 16, seed=0)
    alone, helped = (drawn(pairs, 0, 6, workers) for workers in (0, 2))
    assert len(alone) == len(helped) == 6
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


def test_a_resumed_loader_gives_the_batches_that_are_left(rows: list[Row]) -> None:
    pairs = Pairs(rows, 4, 16, seed=0)
    whole, rest = drawn(pairs, 0, 6), drawn(pairs, 4, 6)
    assert len(rest) == 2
    for a, b in zip(whole[4:], rest, strict=True):
        assert torch.equal(a[1], b[1])


def test_the_global_generators_are_left_alone(rows: list[Row]) -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    drawn(Pairs(rows, 4, 16, seed=0), 0, 2)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="no training pairs; run `dvc repro degrade`"):
        Pairs([], 4, None, 0)


def test_a_crop_off_the_grid_is_refused(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match="crop 18 is not a multiple of the scale 4"):
        Pairs(rows, 4, 18, 0)


def test_an_image_under_the_crop_is_named(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match=r"image0: smaller than train\.crop 36"):
        Pairs(rows, 4, 36, 0)[0, 0]


def test_a_pair_of_other_sizes_is_named(rows: list[Row]) -> None:
    with pytest.raises(ValueError, match="image0: HQ 32x32 is not 4 times LQ 12x12"):
        Pairs([replace(rows[0], lq=rows[1].lq)], 4, None, 0)[0, 0]


def test_the_crop_box_of_a_row_is_used(tmp_path: Path) -> None:
    """One HQ file serves several rows: each is one crop of it with an LQ of its own."""
    rng = np.random.default_rng(0)
    hq = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    lq = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    images.write_png(tmp_path / "hq.png", hq)
    images.write_png(tmp_path / "lq.png", lq)
    row = Row(name="a", hq=str(tmp_path / "hq.png"), lq=str(tmp_path / "lq.png"),
              top=8, left=20, height=16, width=16)  # fmt: skip
    got = images.to_array(Pairs([row], 4, None, 0)[0, 0][1])
    box = hq[8:24, 20:36]
    assert np.array_equal(got, box) or np.array_equal(got, box[:, ::-1])

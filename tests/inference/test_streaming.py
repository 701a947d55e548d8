"""Decoding, computing and encoding side by side: order, batches, bounds and failures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from omgsr.core import images
from omgsr.inference import streaming
from omgsr.inference.method import Size
from omgsr.inference.pictures import still_image


class Recorder:
    """Nearest neighbours, and which batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, ...]]] = []

    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        self.batches.append([image.shape for image in batch])
        top = np.iinfo(batch[0].dtype).max
        return [
            cv2.resize(i, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.float32) / top
            for i in batch
        ]


def write(folder: Path, sizes: Sequence[tuple[int, int]]) -> dict[Path, Path]:
    jobs = {}
    for number, (height, width) in enumerate(sizes):
        pixels = np.full((height, width, 3), number, np.uint8)
        images.write_png(folder / f"{number}.png", pixels)
        jobs[folder / f"{number}.png"] = folder / "out" / f"{number}.png"
    return jobs


def test_every_image_is_restored_once_in_batches_of_its_shape(tmp_path: Path) -> None:
    sizes = [(4, 6), (5, 5), (4, 6), (5, 5), (4, 6), (3, 3), (4, 6)] * 3
    jobs, method = write(tmp_path, sizes), Recorder()
    done = list(streaming.Flow(method, streaming.scaled(2), batch=3).run(jobs))
    assert sorted(one.target for one in done) == sorted(jobs.values())
    assert not any(one.error for one in done)
    assert all(len(set(batch)) == 1 and len(batch) <= 3 for batch in method.batches)
    assert sum(map(len, method.batches)) == 21
    assert len(method.batches) < 21
    for number, (height, width) in enumerate(sizes):
        made = images.read_rgb(tmp_path / "out" / f"{number}.png")
        np.testing.assert_array_equal(made, np.full((2 * height, 2 * width, 3), number))


def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred images of a hundred shapes: no more than a few are decoded ahead."""
    jobs = write(tmp_path, [(3 + i // 10, 3 + i % 10) for i in range(100)])
    alive, most, read = 0, 0, still_image.read

    def counted(path: Path) -> still_image.Picture:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        return read(path)

    monkeypatch.setattr(still_image, "read", counted)
    for _ in streaming.Flow(Recorder(), streaming.scaled(1), batch=2).run(jobs):
        alive -= 1
    assert alive == 0
    assert most <= 3 * streaming.AHEAD * 2 + 2


def test_large_images_wait_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "LARGE", 16)
    jobs, method = write(tmp_path, [(4, 4)] * 5), Recorder()
    assert len(list(streaming.Flow(method, streaming.scaled(1), batch=4).run(jobs))) == 5
    assert [len(batch) for batch in method.batches] == [1] * 5


def test_constant_transparency_stays_what_it_is(tmp_path: Path) -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 3] = 77
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    method = Recorder()
    jobs = {tmp_path / "a.png": tmp_path / "b.png"}
    assert [one.error for one in streaming.Flow(method, streaming.scaled(2)).run(jobs)] == [""]
    assert len(method.batches) == 1
    made = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)
    assert made.shape == (8, 8, 4)
    assert set(made[..., 3].flat) == {77}


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0.1, 8), st.integers(1, 4000))
def test_sizes(height: int, width: int, factor: float, side: int) -> None:
    assert streaming.scaled(factor)((height, width)) == (
        max(1, round(height * factor)),
        max(1, round(width * factor)),
    )
    found = streaming.longest(side)((height, width))
    assert max(found) == side
    assert min(found) >= 1
    shorter = min(height, width) * side / max(height, width)
    assert abs(min(found) - max(shorter, 1)) <= 0.5 + 1e-9

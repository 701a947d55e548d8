"""Scores of restored images: PyIQA metrics per image and mean, as long rows.

An image is decoded once for all metrics, and images of one shape go through a metric together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omgsr import manifest
from omgsr.images import read_rgb
from omgsr.metrics import MIN_SIDE, Metric
from omgsr.parallel import threaded_map

COLUMNS = ("benchmark", "image", "metric", "value")
"""Columns of a run's scores.csv; a row with an empty image is a mean."""
PIXELS_TOGETHER = 2**21
"""Pixels a batch at most: eight images of 512 x 512."""


class ScoringError(ValueError):
    """Images that cannot be scored; the message names them and what to do."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A restored image and the row that says what it was made from."""

    sr: Path
    """The restored image."""
    row: manifest.Row
    """Its name, and its HQ where there is one."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The scores of one image."""

    name: str
    """Name of the image in its benchmark."""
    values: dict[str, float]
    """Score by metric; a metric that gave none is absent."""
    notes: tuple[str, ...] = ()
    """Why a metric gave none."""


def pair(rows: Sequence[manifest.Row], folder: Path) -> list[Item]:
    """The restored image of every row, by name; missing, left-over and half-paired sets refused."""
    wanted = {f"{row.name}.png" for row in rows}
    present = {path.name for path in folder.glob("*.png")} if folder.is_dir() else set()
    for names, what in (
        (wanted - present, "lacks"),
        (present - wanted, "holds images that the benchmark does not list:"),
    ):
        if names:
            raise ScoringError(
                f"{folder}: {what} {_some(sorted(names))}; run `dvc repro` to restore them anew"
            )
    single = [row.name for row in rows if not row.hq]
    if single and len(single) < len(rows):
        raise ScoringError(f"{_some(single)}: no HQ, but other images of this set have one")
    return [Item(sr=folder / f"{row.name}.png", row=row) for row in rows]


def score(
    metrics: Sequence[Metric], items: Sequence[Item], crop_border: int = 0
) -> Iterator[Scored]:
    """Yields the scores of every image, in the order of `items`.

    Full-reference metrics are computed where the row names an HQ. `crop_border` pixels are left
    out at every edge. An image too small for a metric, or a score that is not finite, is a note.

    Batches are decoded and scored on all cores at once, by threads: the metrics release Python's
    lock and most of them use one core, and every model is in memory once.
    """
    one = partial(_score_group, metrics, crop_border)
    workers = len(os.sched_getaffinity(0))
    for scored in threaded_map(one, _batches(items), workers=workers):
        yield from scored


def records(benchmark: str, scored: Iterable[Scored]) -> list[dict[str, str | float]]:
    """Rows of scores.csv: every image, then the mean of each metric with an empty image."""
    scored = list(scored)
    rows = [(s.name, metric, value) for s in scored for metric, value in s.values.items()]
    for metric in dict.fromkeys(metric for _, metric, _ in rows):
        rows.append(("", metric, fmean(s.values[metric] for s in scored if metric in s.values)))
    # Six decimals are more than PyIQA's float32 holds, and the same on every machine.
    return [dict(zip(COLUMNS, (benchmark, n, m, round(v, 6)), strict=True)) for n, m, v in rows]


def _score_group(
    metrics: Sequence[Metric], crop_border: int, group: Sequence[Item]
) -> list[Scored]:
    loaded = [_load(item, crop_border) for item in group]
    found: list[Scored] = []
    # The order is kept: neighbours of one shape are a batch.
    pairs = zip(group, loaded, strict=True)
    for _, same in groupby(pairs, key=lambda pair: pair[1][0].shape):
        together = list(same)
        names = [item.row.name for item, _ in together]
        found += _score_batch(metrics, names, [images for _, images in together])
    return found


def _score_batch(
    metrics: Sequence[Metric],
    names: Sequence[str],
    loaded: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8] | None]],
) -> list[Scored]:
    sr = _stack([images[0] for images in loaded])
    references = [images[1] for images in loaded if images[1] is not None]
    hq = _stack(references) if references else None
    values: list[dict[str, float]] = [{} for _ in names]
    notes: list[list[str]] = [[] for _ in names]
    for metric in metrics:
        if metric.traits.full_reference and hq is None:
            continue
        for index, (value, note) in enumerate(_apply(metric, names, sr, hq)):
            if note:
                notes[index].append(note)
            else:
                values[index][metric.name] = value
    parts = zip(names, values, notes, strict=True)
    return [Scored(name=name, values=v, notes=tuple(n)) for name, v, n in parts]


def _apply(
    metric: Metric, names: Sequence[str], sr: Tensor, hq: Tensor | None
) -> list[tuple[float, str]]:
    """(score, note) of each image; a note says why there is no score."""
    height, width = sr.shape[-2:]
    least = MIN_SIDE.get(metric.name, 1)
    if min(height, width) < least:
        reason = f"is {width} x {height}, which is under the {least} pixels that it needs"
        return [(float("nan"), f"{metric.name}: {name} {reason}") for name in names]
    try:
        scores = metric(sr, hq).tolist()
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        raise ScoringError(
            f"{metric.name}: PyIQA failed on {_some(names)} ({width} x {height}): {error}"
        ) from error
    unusable = f"{metric.name}: PyIQA gave no finite score for "
    return [
        (value, "" if np.isfinite(value) else unusable + name)
        for value, name in zip(scores, names, strict=True)
    ]


def _load(item: Item, crop_border: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """SR and HQ (H, W, 3) without their borders; sizes that differ are refused."""
    sr = read_rgb(item.sr)
    hq = manifest.load_hq(item.row) if item.row.hq else None
    if hq is not None and hq.shape != sr.shape:
        raise ScoringError(
            f"{item.sr}: is {sr.shape[1]} x {sr.shape[0]}, its HQ {item.row.hq} is "
            f"{hq.shape[1]} x {hq.shape[0]}; run `dvc repro` to restore it at the right scale"
        )
    if 2 * crop_border >= min(sr.shape[:2]):
        raise ScoringError(
            f"{item.sr}: nothing is left of {sr.shape[1]} x {sr.shape[0]} after a crop_border "
            f"of {crop_border}; lower score.crop_border"
        )
    inner = slice(crop_border, -crop_border or None)
    return sr[inner, inner], None if hq is None else hq[inner, inner]


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Neighbours in groups of PIXELS_TOGETHER at most, by the sizes in the files' headers."""
    group: list[Item] = []
    pixels = 0
    for item in items:
        size = _pixels(item.sr)
        if group and pixels + size > PIXELS_TOGETHER:
            yield group
            group, pixels = [], 0
        group.append(item)
        pixels += size
    if group:
        yield group


def _pixels(path: Path) -> int:
    """Pixels of a PNG from its header: width and height are bytes 16 to 23."""
    with open(path, "rb") as handle:
        header = handle.read(24)
    return int.from_bytes(header[16:20]) * int.from_bytes(header[20:24])


def _stack(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """uint8 (H, W, 3) each => float32 (B, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous().float() / 255


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

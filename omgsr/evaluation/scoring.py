"""Scores of restored images: PyIQA metrics per image, mean and whole set, as long rows.

Every image is decoded once for all metrics and scored alone, by one thread: its scores depend
neither on how many threads there are nor on the images beside it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omgsr.core.images import read_rgb
from omgsr.core.parallel import threaded_map
from omgsr.core.wording import some
from omgsr.data import manifest
from omgsr.evaluation import fid
from omgsr.evaluation.metrics import MIN_SIDE, Metric

COLUMNS = ("benchmark", "image", "metric", "value")
"""Columns of a run's scores.csv; a row with an empty image is a mean or a score of the set."""
Features = NDArray[np.float32]


class ScoringError(ValueError):
    """Images that cannot be scored; the message names them and what to do."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """A restored image and the row that says what it was made from."""

    sr: Path
    row: manifest.Row
    """Its name, and its HQ where there is one."""


@dataclass(frozen=True)
class Scored:
    """The scores of one image."""

    name: str
    values: dict[str, float]
    """Score by metric; a metric that gave none is absent."""
    notes: tuple[str, ...] = ()
    """Why a metric gave none."""
    features: dict[str, Features] = field(default_factory=dict, compare=False)
    """By metric of whole sets, what it keeps of the image: (D,)."""


Keep = Callable[[str, Callable[[], Scored]], Scored]
"""(name, computation) => the scores: kept ones, or those of the computation, which are kept."""


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
                f"{folder}: {what} {some(sorted(names))}; run `dvc repro` to restore them anew"
            )
    single = [row.name for row in rows if not row.hq]
    if single and len(single) < len(rows):
        raise ScoringError(f"{some(single)}: no HQ, but other images of this set have one")
    return [Item(sr=folder / f"{row.name}.png", row=row) for row in rows]


def score(
    metrics: Sequence[Metric],
    items: Sequence[Item],
    crop_border: int = 0,
    keep: Keep | None = None,
    workers: int | None = None,
) -> Iterator[Scored]:
    """Yields the scores of every image, in the order of `items`.

    Full-reference metrics are computed where the row names an HQ. `crop_border` pixels are left
    out at every edge, but not for metrics of whole sets, which keep features of the whole image.
    An image too small for a metric, or a score that is not finite, is a note.
    """
    one = partial(_score_one, metrics, crop_border)
    yield from _spread(one, items, keep, metrics, workers)


def describe(
    metrics: Sequence[Metric], items: Sequence[Item], keep: Keep | None = None
) -> Iterator[Scored]:
    """Yields what metrics of whole sets keep of the HQ of every item: a reference set."""

    def one(item: Item) -> Scored:
        image = manifest.load_hq(item.row)
        features = {m.name: m.features(image) for m in metrics if m.traits.whole_set}
        return Scored(item.row.name, {}, features=features)

    yield from _spread(one, items, keep, metrics)


def whole_set(metric: Metric, scored: Sequence[Scored], reference: Sequence[Scored]) -> float:
    """The score of a set against its reference; ScoringError where there are too few images."""
    ours, theirs = (
        [one.features[metric.name] for one in found if metric.name in one.features]
        for found in (scored, reference)
    )
    if min(len(ours), len(theirs)) < fid.LEAST:
        raise ScoringError(
            f"{metric.name}: compares {fid.LEAST} or more images with as many of a reference, "
            f"got {len(ours)} and {len(theirs)}; score.reference names a folder for this benchmark"
        )
    return fid.distance(np.stack(ours), np.stack(theirs))


def records(
    benchmark: str, scored: Iterable[Scored], sets: Mapping[str, float] | None = None
) -> list[dict[str, str | float]]:
    """Rows of scores.csv: every image, then with an empty image each metric's mean.

    `sets` are scores of the whole set by metric, which have no other row.
    """
    scored = list(scored)
    rows = [(s.name, metric, value) for s in scored for metric, value in s.values.items()]
    for metric in dict.fromkeys(metric for _, metric, _ in rows):
        rows.append(("", metric, fmean(s.values[metric] for s in scored if metric in s.values)))
    rows += [("", metric, value) for metric, value in (sets or {}).items()]
    # Six decimals are more than PyIQA's float32 holds, and the same on every machine.
    return [dict(zip(COLUMNS, (benchmark, n, m, round(v, 6)), strict=True)) for n, m, v in rows]


def _spread(
    one: Callable[[Item], Scored],
    items: Sequence[Item],
    keep: Keep | None,
    metrics: Sequence[Metric],
    workers: int | None = None,
) -> Iterator[Scored]:
    """`one` of every item on all cores, by threads: most metrics use one core and no lock.

    Before a GPU two threads are enough: one decodes while the other computes.
    """
    models = [m.model for m in metrics if isinstance(m.model, torch.nn.Module)]
    gpu = any(p.is_cuda for model in models for p in model.parameters())
    workers = workers or (2 if gpu else len(os.sched_getaffinity(0)))

    def job(item: Item) -> Scored:
        torch.set_num_threads(1)  # of this thread: sums do not depend on how many there are
        return keep(item.row.name, lambda: one(item)) if keep else one(item)

    with _deterministic():
        yield from threaded_map(job, items, workers=workers)


@contextmanager
def _deterministic() -> Iterator[None]:
    """One thread an operation, and cuDNN as PyIQA sets it, which is no setting of one thread."""
    torch_threads, cv2_threads = torch.get_num_threads(), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield
    finally:
        torch.set_num_threads(torch_threads)
        cv2.setNumThreads(cv2_threads)


def _score_one(metrics: Sequence[Metric], crop_border: int, item: Item) -> Scored:
    whole, reference = _load(item, crop_border)
    inner = slice(crop_border, -crop_border or None)
    sr = _tensor(whole[inner, inner])
    hq = None if reference is None else _tensor(reference[inner, inner])
    features = {m.name: m.features(whole) for m in metrics if m.traits.whole_set}
    found = {
        metric.name: _apply(metric, item.row.name, sr, hq)
        for metric in metrics
        if not metric.traits.whole_set and (hq is not None or not metric.traits.full_reference)
    }
    values = {name: value for name, value in found.items() if isinstance(value, float)}
    notes = tuple(note for note in found.values() if isinstance(note, str))
    return Scored(item.row.name, values, notes, features)


def _apply(metric: Metric, name: str, sr: Tensor, hq: Tensor | None) -> float | str:
    """The score, or a note that says why there is none."""
    height, width = sr.shape[-2:]
    least = MIN_SIDE.get(metric.name, 1)
    if min(height, width) < least:
        reason = f"is {width} x {height}, which is under the {least} pixels that it needs"
        return f"{metric.name}: {name} {reason}"
    try:
        value = float(metric(sr, hq))
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        raise ScoringError(
            f"{metric.name}: PyIQA failed on {name} ({width} x {height}): {error}"
        ) from error
    finite = np.isfinite(value)
    return value if finite else f"{metric.name}: PyIQA gave no finite score for {name}"


def _load(item: Item, crop_border: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """SR and HQ (H, W, 3); sizes that differ are refused, and a border that leaves nothing."""
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
    return sr, hq


def _tensor(image: NDArray[np.uint8]) -> Tensor:
    """uint8 (H, W, 3) => float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous().float() / 255

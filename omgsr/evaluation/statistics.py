"""How sure a mean is, and how sure a difference between two methods is: bootstrap over images.

Images are drawn with replacement, the same ones for both methods of a comparison. Crops of one
photograph are not independent; where a benchmark holds such, give their photograph as the group.
scipy.stats.bootstrap has no groups and other draws, so its intervals would be other numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from omgsr.core import seeding

RESAMPLINGS = 10_000
LEVEL = 0.95
_KEYS = ["run", "benchmark", "metric"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its percentile-bootstrap interval."""

    mean: float
    low: float
    high: float
    images: int
    """Images that it is a mean over."""


@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """The mean of `first` - `second` over the images that both have."""

    won: int
    """Images on which the first is better."""
    lost: int
    """Images on which the second is better; the others are equal."""


def interval(
    values: Sequence[float], seed: int = 0, groups: Sequence[str] | None = None
) -> Interval:
    """The mean of per-image scores and its 95 % interval; ValueError where there is none."""
    data = np.asarray(values, dtype=np.float64)
    if not data.size or not np.isfinite(data).all():
        raise ValueError(f"an interval needs finite scores, got {data.size} of them")
    low, high = np.quantile(_means(data, seed, groups), ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(mean=float(data.mean()), low=float(low), high=float(high), images=data.size)


def difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    lower_better: bool,
    seed: int = 0,
    groups: Mapping[str, str] | None = None,
) -> Difference:
    """`first` - `second`, image by image; the images must be the same ones.

    The sign is that of the scores: with `lower_better` a negative mean says that the first is
    better. Raises ValueError naming images that only one of the two has.
    """
    alone = sorted(first.keys() ^ second.keys())
    if alone:
        raise ValueError(f"only one of the two methods has {', '.join(alone[:3])}; score both anew")
    names = list(first)
    gaps = np.array([first[name] - second[name] for name in names])
    found = interval(gaps.tolist(), seed, [groups[n] for n in names] if groups else None)
    better = -gaps if lower_better else gaps
    won, lost = int((better > 0).sum()), int((better < 0).sum())
    return Difference(**vars(found), won=won, lost=lost)


def intervals(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Long per-image scores => run, benchmark, metric, mean, low, high, images.

    Rows with an empty image, the means, are left out, and so are metrics that have no image rows.
    """
    rows = [
        (*key, *vars(interval(list(values.values()), seed)).values())
        for key, values in _single(scores).items()
    ]
    return pd.DataFrame(rows, columns=[*_KEYS, "mean", "low", "high", "images"])


def differences(
    scores: pd.DataFrame, reference: str, lower_better: Mapping[str, bool], seed: int = 0
) -> pd.DataFrame:
    """Every run against `reference`: run, benchmark, metric, difference, low, high, won, lost.

    A metric of whole sets, such as FID, has a difference and nothing else. Raises ValueError where
    the reference has no scores.
    """
    known = _single(scores)
    means = scores[scores["image"] == ""].dropna(subset=["value"]).set_index(_KEYS)["value"]
    whole = {key: float(value) for key, value in means.items() if key not in known}
    if not any(run == reference for run, _, _ in (*known, *whole)):
        raise ValueError(f"no scores of {reference!r} to compare with")
    rows: list[tuple[object, ...]] = []
    for (run, benchmark, metric), values in known.items():
        other = known.get((reference, benchmark, metric))
        if run != reference and other is not None:
            d = difference(values, other, lower_better[metric], seed)
            rows.append((run, benchmark, metric, d.mean, d.low, d.high, d.won, d.lost, d.images))
    for (run, benchmark, metric), value in whole.items():
        if run != reference and (reference, benchmark, metric) in whole:
            gap = value - whole[reference, benchmark, metric]
            rows.append((run, benchmark, metric, gap, *(None,) * 5))
    columns = [*_KEYS, "difference", "low", "high", "won", "lost", "images"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(columns[-3:], "Int64") | dict.fromkeys(columns[3:6], float))


def _single(scores: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, float]]:
    """(run, benchmark, metric) => score by image, without means and scores of whole sets."""
    single = scores[scores["image"] != ""].dropna(subset=["value"])
    return {
        key: dict(zip(own["image"], own["value"], strict=True))
        for key, own in single.groupby(_KEYS, sort=False)
    }


def _means(
    data: NDArray[np.float64], seed: int, groups: Sequence[str] | None
) -> NDArray[np.float64]:
    """Means of the resampled scores: (RESAMPLINGS,); whole groups are drawn where given."""
    member = np.unique(groups, return_inverse=True)[1] if groups else np.arange(len(data))
    sums, counts = np.bincount(member, data), np.bincount(member)
    rng = seeding.rng(seed, "bootstrap", len(data))
    draws = rng.integers(len(sums), size=(RESAMPLINGS, len(sums)))
    means: NDArray[np.float64] = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    return means

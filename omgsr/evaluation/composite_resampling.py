"""How a composite score moves with the images that it is a mean over: bootstrap, all runs at once.

In every replicate a benchmark's images are drawn with replacement, the same ones for all runs and
metrics, and Eqs. 20 to 23 are computed again from the means.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from omgsr.core import seeding

REPLICATES = 2000
Values = NDArray[np.float64]


def replicates(
    scores: pd.DataFrame, lower_better: Mapping[str, bool], seed: int = 0
) -> pd.DataFrame:
    """Long per-image scores (run, benchmark, image, metric, value) => average composites.

    A column a run, a row a replicate. Rows with an empty image, the means, are used for metrics
    that have no others (FID), which then stand still. Metrics and benchmarks that not all runs have
    are left out, as are metrics whose runs all score the same.
    """
    runs = list(dict.fromkeys(scores["run"]))
    benchmarks = [
        _benchmark(own, runs, lower_better, seeding.rng(seed, "composite", str(name)))
        for name, own in scores.groupby("benchmark", sort=False)
    ]
    whole = [one for one in benchmarks if one is not None]
    if not whole:
        raise ValueError("no benchmark has scores of all runs that differ")
    return pd.DataFrame(np.mean(whole, axis=0), columns=runs)


def _benchmark(
    scores: pd.DataFrame, runs: list[str], lower_better: Mapping[str, bool],
    rng: np.random.Generator,
) -> Values | None:  # fmt: skip
    """Composites of one benchmark: (REPLICATES, runs), or None where nothing tells runs apart."""
    images = sorted(set(scores["image"]) - {""})
    share = rng.multinomial(len(images), np.full(len(images), 1 / len(images)), REPLICATES)
    metrics = []
    for metric, own in scores.groupby("metric", sort=False):
        means = _means(own, runs, images, share / len(images))
        if means is None:
            continue
        span = means.max(axis=1, keepdims=True) - means.min(axis=1, keepdims=True)
        if (span > 0).all():
            unit = (means - means.min(axis=1, keepdims=True)) / span
            metrics.append(1 - unit if lower_better[str(metric)] else unit)
    return np.mean(metrics, axis=0) if metrics else None


def _means(
    scores: pd.DataFrame, runs: list[str], images: list[str], share: Values
) -> Values | None:
    """Means of a metric by run in every replicate; None where a run or an image has no score."""
    single = scores[scores["image"] != ""]
    if single.empty:
        whole = scores.set_index("run")["value"].reindex(runs).astype(float)
        return None if whole.isna().any() else np.tile(whole.to_numpy(), (REPLICATES, 1))
    table = single.pivot(index="image", columns="run", values="value")
    table = table.reindex(index=images, columns=runs).astype(float)
    return None if table.isna().any(axis=None) else share @ table.to_numpy()

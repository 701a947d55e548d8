"""The composite score of a set of runs (Eqs. 20-23).

Two rules for what the paper leaves open:
- A metric whose runs all score the same has no scale (max = min): it is left out for all of them.
  Where nothing is left, the composite is null, never 0 or NaN.
- A run that lacks a score which other runs have on a benchmark has no composite there, and no
  average: a mean over fewer metrics or benchmarks is not comparable with the others.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

AVERAGE = "average"
"""The benchmark name under which the mean over all benchmarks is listed (Eq. 23)."""


def composite(scores: pd.DataFrame, lower_better: Mapping[str, bool]) -> pd.DataFrame:
    """Long scores (run, benchmark, metric, value) => (run, benchmark or `average`, composite).

    An `image` column is allowed: its rows with an empty image, the means, are taken. Composites
    are in 0..1, higher is better, None where undefined. Runs and benchmarks keep their order.
    `lower_better` gives the direction of each metric in `scores`.
    """
    means = _means(scores)
    missing = sorted(set(means["metric"]) - set(lower_better))
    if missing:
        raise ValueError(f"direction unknown for {missing}; give lower_better for each metric")
    runs = list(dict.fromkeys(means["run"]))
    table = pd.DataFrame(
        {
            benchmark: _complete_mean(normalised(own, lower_better).reindex(runs))
            for benchmark, own in means.groupby("benchmark", sort=False)
        },
        index=pd.Index(runs, dtype=object),
    )
    table[AVERAGE] = _complete_mean(table)  # Eq. 23
    long = table.stack().rename_axis(["run", "benchmark"]).reset_index(name="composite")
    # dtype object keeps None, which JSON writes as null and CSV as an empty cell.
    return long.astype(object).where(long.notna(), None)


def normalised(scores: pd.DataFrame, lower_better: Mapping[str, bool]) -> pd.DataFrame:
    """Min-max scores of one benchmark, 1 the best run, 0 the worst (Eqs. 20, 21): runs x metrics.

    A metric is NaN for a run that lacks it, and for all runs where they all score the same.
    """
    wide = scores.pivot(index="run", columns="metric", values="value")
    span = (wide.max() - wide.min()).where(lambda width: width > 0)
    norm = (wide - wide.min()) / span
    inverted = [metric for metric in wide if lower_better[metric]]
    norm[inverted] = 1 - norm[inverted]
    return norm


def _complete_mean(table: pd.DataFrame) -> pd.Series:
    """Mean over the columns that have any value; NaN for a row that lacks one of them (Eq. 22)."""
    return table.dropna(axis="columns", how="all").mean(axis="columns", skipna=False)


def _means(scores: pd.DataFrame) -> pd.DataFrame:
    if "image" in scores:
        scores = scores[scores["image"].fillna("") == ""]
    scores = scores.dropna(subset=["value"])
    keys = ["run", "benchmark", "metric"]
    repeated = scores[scores.duplicated(keys)]
    if len(repeated):
        raise ValueError(f"two scores for {tuple(repeated.iloc[0][keys])}; give one")
    unusable = scores[~np.isfinite(scores["value"].astype(float))]
    if len(unusable):
        raise ValueError(f"score of {tuple(unusable.iloc[0][keys])} is not finite")
    return scores

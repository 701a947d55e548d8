"""The composite score of a set of runs (Eqs. 20-23), and how firm a ranking by it is.

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


def with_means(scores: pd.DataFrame) -> pd.DataFrame:
    """Long scores as `composite` takes them; means of image rows are added where they lack.

    The frame has run, benchmark, metric, value and perhaps image, whose means have an empty one.
    Raises ValueError naming a column that is missing.
    """
    lacking = [name for name in ("run", "benchmark", "metric", "value") if name not in scores]
    if lacking:
        raise ValueError(
            f"no column {lacking[0]!r}; needed are run, benchmark, metric and value, and image "
            f"where there are rows of single images; got {', '.join(map(str, scores.columns))}"
        )
    if "image" not in scores:
        return scores
    single = scores[scores["image"].fillna("") != ""].dropna(subset=["value"])
    means = scores[scores["image"].fillna("") == ""]
    keys = ["run", "benchmark", "metric"]
    found = single.groupby(keys, sort=False, as_index=False)["value"].mean()
    known = pd.MultiIndex.from_frame(means[keys])
    new = found[~pd.MultiIndex.from_frame(found[keys]).isin(known)]
    return pd.concat([means[[*keys, "value"]], new], ignore_index=True)


def leave_one_out(scores: pd.DataFrame, lower_better: Mapping[str, bool]) -> pd.DataFrame:
    """Average composite and rank of every run without each metric, then without each benchmark.

    The columns are left_out (`metric`, `benchmark` or empty for the whole), name, run, composite
    and rank; runs without a composite have neither a score nor a rank. Ties share the better rank.
    """
    frames = [_ranked(scores, lower_better)]
    for kind in ("metric", "benchmark"):
        names = list(dict.fromkeys(scores[kind]))
        for name in names if len(names) > 1 else []:
            frames.append(_ranked(scores[scores[kind] != name], lower_better, kind, name))
    return pd.concat(frames, ignore_index=True)


def firmness(ranked: pd.DataFrame) -> tuple[list[str], int, int]:
    """(best runs of the whole, times that they stay best, number of cases) of `leave_one_out`."""
    best = set(ranked[(ranked["left_out"] == "") & (ranked["rank"] == 1)]["run"])
    cases = ranked[ranked["left_out"] != ""].groupby(["left_out", "name"], sort=False)
    same = [set(own[own["rank"] == 1]["run"]) == best for _, own in cases]
    return sorted(best), sum(same), len(same)


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


def _ranked(
    scores: pd.DataFrame, lower_better: Mapping[str, bool], kind: str = "", name: str = ""
) -> pd.DataFrame:
    found = composite(scores, lower_better)
    average = found[found["benchmark"] == AVERAGE].reset_index(drop=True)
    values = pd.to_numeric(average["composite"])
    ranks = values.rank(ascending=False, method="min").astype("Int64").to_numpy()
    columns = {"left_out": kind, "name": name, "run": average["run"]}
    return pd.DataFrame({**columns, "composite": values, "rank": ranks})

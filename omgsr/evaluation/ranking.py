"""How firm a ranking by composite scores is: the same ranking with one metric or benchmark less."""

from collections.abc import Mapping

import pandas as pd

from omgsr.evaluation.composite import AVERAGE, composite


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


def _ranked(
    scores: pd.DataFrame, lower_better: Mapping[str, bool], kind: str = "", name: str = ""
) -> pd.DataFrame:
    found = composite(scores, lower_better)
    average = found[found["benchmark"] == AVERAGE].reset_index(drop=True)
    values = pd.to_numeric(average["composite"])
    ranks = values.rank(ascending=False, method="min").astype("Int64").to_numpy()
    columns = {"left_out": kind, "name": name, "run": average["run"]}
    return pd.DataFrame({**columns, "composite": values, "rank": ranks})

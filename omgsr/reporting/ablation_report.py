"""All numbers of an ablation's report, from its scores alone."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from omgsr.evaluation.composite import composite
from omgsr.reporting import ablation, claims
from omgsr.reporting.compared import Run
from omgsr.reporting.settings import Claim

_NAME = re.compile(r"(?P<variant>.+)-(?P<asked>auto|\d+)-(?P<seed>\d+)")


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """What an ablation's README.md and CSVs hold."""

    runs: tuple[Run, ...]
    composites: pd.DataFrame
    """run, benchmark, value."""
    summary: pd.DataFrame
    """Composites by setting and benchmark: composite.csv."""
    spread: pd.DataFrame
    """Metrics by setting and benchmark: spread.csv."""
    table: str
    verdict: list[str]
    judged: list[tuple[Claim, str, str]]
    """Every statement, its verdict and the numbers behind that."""


def numbers(
    scores: pd.DataFrame,
    star: Mapping[str, int],
    lower_better: Mapping[str, bool],
    statements: Sequence[Claim] = (),
) -> Numbers:
    """From scores (run, benchmark, image, metric, value), whose runs are <variant>-<t>-<seed>.

    Other names are those of methods, which are left out. `star` has t for the runs at `auto`;
    `lower_better` has the metrics of the composite.
    """
    runs = tuple(_runs(dict.fromkeys(scores["run"]), star["t"]))
    scores = scores[scores["run"].isin([run.name for run in runs])]
    compared = scores[scores["metric"].isin(list(lower_better))]
    composites = composite(compared, lower_better).rename(columns={"composite": "value"})
    summary = ablation.spread(composites, runs)
    means = scores[scores["image"] == ""].drop(columns="image")
    evidence: Any = None
    if statements:
        evidence = claims.Evidence(scores, composites, runs, lower_better)
    return Numbers(
        runs=runs,
        composites=composites,
        summary=summary,
        spread=ablation.spread(means, runs),
        table=ablation.table(summary),
        verdict=ablation.verdict(composites, runs),
        judged=[(one, *claims.judge(one, evidence, star["t"])) for one in statements],
    )


def _runs(names: Iterable[str], star: int) -> Iterator[Run]:
    """Those of the names that are runs; the others are methods beside them."""
    for name in names:
        if found := _NAME.fullmatch(name):
            asked = found["asked"]
            t = star if asked == "auto" else int(asked)
            yield Run(
                name=name, variant=found["variant"], asked=asked, t=t, seed=int(found["seed"])
            )

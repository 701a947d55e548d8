"""What stands side by side in a report: runs and methods, benchmarks, metrics, and the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from omgsr.core import files, frames
from omgsr.data import manifest
from omgsr.evaluation import metrics, scoring
from omgsr.evaluation.composite import AVERAGE
from omgsr.evaluation.metrics import Traits


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained run."""

    name: str
    """Its folder below runs/."""
    variant: str
    """Name of its losses."""
    t: int
    """The timestep that it was trained at."""
    asked: str = ""
    """`auto` or a number."""
    seed: int = 0
    """Of its training."""

    @property
    def setting(self) -> str:
        """Variant and timestep, as a table says them."""
        return f"{self.variant}, t = {self.t}" + (" (auto)" if self.asked == "auto" else "")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All that a report is about."""

    methods: tuple[str, ...] = ()
    """Methods beside the runs, which come first."""
    runs: tuple[Run, ...] = ()
    benchmarks: Mapping[str, bool]
    """Of each whether it is paired."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Images of each benchmark."""
    traits: tuple[Traits, ...]
    """All metrics."""
    combined: tuple[str, ...] = ()
    """Metrics of the composite score."""
    caveats: tuple[str, ...] = ()
    """What stands below every table."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every folder below runs/ that is shown."""
        return (*self.methods, *(run.name for run in self.runs))

    @property
    def lower(self) -> dict[str, bool]:
        """Metric => whether lower is better."""
        return {one.name: one.lower_better for one in self.traits}


def read(settings: Any) -> Compared:
    """All of a configuration (omgsr/config.py), with the timesteps that `resolve` wrote."""
    resolved = {run.name: files.read_json(f"runs/{run.name}/t.json") for run in settings.runs}
    return Compared(
        methods=settings.method_names,
        runs=tuple(
            Run(name=run.name, variant=run.variant, t=resolved[run.name]["t"])
            for run in settings.runs
        ),
        benchmarks={name: one.paired for name, one in settings.benchmarks.items()},
        sizes={name: len(manifest.read(f"data/pairs/{name}.csv")) for name in settings.benchmarks},
        traits=tuple(metrics.traits(name) for name in settings.score.metrics),
        combined=settings.score.compared,
        caveats=caveats(settings.foundation),
    )


def caveats(foundation: Any) -> tuple[str, ...]:
    """What stands below every table of numbers on a foundation (the section of that name).

    That is where its model is a small one, and where its feature network is not the paper's.
    """
    found = []
    if foundation.backbone in ("mini", "mini_flow"):
        found.append(
            f"Model {foundation.backbone}: these numbers show that the pipeline works, with a "
            "small model that was trained for minutes. They say nothing about the paper's results."
        )
    if foundation.features.departure:
        found.append(f"Features of Dv3CD and discriminator: {foundation.features.departure}.")
    return tuple(found)


def read_scores(root: Path | str, runs: Sequence[str]) -> pd.DataFrame:
    """The scores of all `runs` below `root`, with a column `run` in front.

    A missing file is named with the stage that makes it, a file of other columns is refused.
    """
    return pd.concat((_read(Path(root, run, "scores.csv"), run) for run in runs), ignore_index=True)


def summary(scores: pd.DataFrame, composites: pd.DataFrame) -> dict[str, Any]:
    """Run => benchmark => {metric: mean, composite: score or None}, and the run's average."""
    table: dict[str, Any] = {}
    own = scores[scores["image"] == ""].drop(columns="image")
    for run, benchmark, metric, value in own.itertuples(index=False):
        table.setdefault(run, {}).setdefault(benchmark, {})[metric] = float(value)
    for run, benchmark, value in composites.itertuples(index=False):
        home = table[run] if benchmark == AVERAGE else table[run].setdefault(benchmark, {})
        home["composite"] = value
    return table


def _read(path: Path, run: str) -> pd.DataFrame:
    frame = frames.scores(files.read_text(path))
    if tuple(frame.columns) != scoring.COLUMNS:
        raise ValueError(
            f"{path}: the columns must be {','.join(scoring.COLUMNS)}, got "
            f"{','.join(frame.columns)}; run `dvc repro -f score` to write it again"
        )
    frame.insert(0, "run", run)
    return frame

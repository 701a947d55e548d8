"""What the runs scored, read back: long frames and a nested summary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from omgsr.core import files, frames
from omgsr.evaluation import scoring
from omgsr.evaluation.composite import AVERAGE


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

"""What the runs scored, read back: long frames, the paper's tables and a nested summary."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from omgsr.core import files
from omgsr.data import manifest
from omgsr.evaluation import scoring
from omgsr.evaluation.composite import AVERAGE
from omgsr.evaluation.metrics import Traits
from omgsr.reporting import paper_tables
from omgsr.reporting.tables import Table

COLUMNS = ("run", *scoring.COLUMNS)
"""Columns of reports/scores.csv; a row with an empty image is a mean."""


def read_scores(root: Path | str, runs: Sequence[str]) -> pd.DataFrame:
    """The scores of all `runs` below `root`, with a column `run` in front.

    A missing file is named with the stage that makes it, a file of other columns is refused.
    """
    frames = (_read(Path(root, run, "scores.csv"), run) for run in runs)
    return pd.concat(frames, ignore_index=True)


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


def in_paper_tables(
    scores: pd.DataFrame,
    variants: Mapping[str, str],
    methods: Sequence[str],
    benchmarks: Mapping[str, bool],
    traits: Sequence[Traits],
    compared: Sequence[str],
    notes: Sequence[str] = (),
) -> dict[int, Table]:
    """Number => the paper's table with our runs in it, of those that they can stand in.

    `variants` gives that of every run, `benchmarks` whether each is paired, `compared` the metrics
    of the composite score; `notes` stand below each table.
    """
    runs = [
        paper_tables.Run(name=run, variant=variant, t=files.read_json(f"runs/{run}/t.json")["t"])
        for run, variant in variants.items()
    ]
    sizes = {name: len(manifest.read(f"data/pairs/{name}.csv")) for name in benchmarks}
    found = paper_tables.tables(scores, runs, methods, benchmarks, sizes, traits, compared)
    return {number: replace(one, notes=(*notes, *one.notes)) for number, one in found.items()}


def _read(path: Path, run: str) -> pd.DataFrame:
    # keep_default_na: an image may be called NA, and the image of a mean is empty.
    frame = pd.read_csv(io.StringIO(files.read_text(path)), keep_default_na=False, dtype=str)
    if tuple(frame.columns) != scoring.COLUMNS:
        raise ValueError(
            f"{path}: the columns must be {','.join(scoring.COLUMNS)}, got "
            f"{','.join(frame.columns)}; run `dvc repro -f score` to write it again"
        )
    frame["value"] = pd.to_numeric(frame["value"].replace("", None))
    frame.insert(0, "run", run)
    return frame

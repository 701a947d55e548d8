"""Tables of scores: benchmarks and metrics by runs; the best value is marked, and the second best.

Values are compared as they are printed, so two that look equal are marked alike. Values that are
quoted from the paper are ranked apart from ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import pandas as pd

from omgsr.evaluation.composite import AVERAGE
from omgsr.evaluation.metrics import Traits
from omgsr.reporting.compared import Compared

DASH = "–"
COMPOSITE = Traits(name="composite", lower_better=False, full_reference=False)
"""The composite score as a line of the table."""
DIGITS = {"psnr": 2, "fid": 2}
"""Decimals of a metric; all others have four, as in the paper."""
Known = Mapping[tuple[str, str, str], float | None]
"""(run, benchmark, metric) => value."""


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table."""

    text: str
    mark: str = ""
    """best, second or nothing."""
    value: float | None = None
    """The number itself, not rounded; None sorts by the text."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric on one benchmark."""

    benchmark: str
    traits: Traits
    values: tuple[float | None, ...]
    """A value a run, None where there is none."""
    quoted: int = 0
    """The last so many values are the paper's."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as printed, to the decimals of their metric; a dash for None."""
        digits = DIGITS.get(self.traits.name, 4)
        return tuple(DASH if value is None else f"{value:.{digits}f}" for value in self.values)

    @property
    def has_values(self) -> bool:
        """Whether any run has one."""
        return any(value is not None for value in self.values)

    @property
    def marks(self) -> tuple[str, ...]:
        """'best', 'second' or '' for each run, ours and quoted ones apart."""
        cut = len(self.values) - self.quoted
        return (*self._ranked(self.texts[:cut]), *self._ranked(self.texts[cut:]))

    @property
    def cells(self) -> list[Cell]:
        """A cell a run."""
        return list(map(Cell, self.texts, self.marks, self.values))

    def _ranked(self, texts: Sequence[str]) -> list[str]:
        """Marks of texts that are compared; none where all are equal."""
        numbers = sorted({float(text) for text in texts if text != DASH})
        ranked = numbers if self.traits.lower_better else numbers[::-1]
        if len(ranked) < 2:
            return [""] * len(texts)
        places = {ranked[0]: "best", ranked[1]: "second"}
        return ["" if text == DASH else places.get(float(text), "") for text in texts]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Scores of several runs."""

    runs: tuple[str, ...]
    """What the values of each line are of."""
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    """Sentences that belong below it."""
    title: str = ""
    """What stands above it."""
    down: Literal["metrics", "runs"] = "metrics"
    """What its rows are; the others are its columns."""


Rows = Sequence[Sequence[Cell]]


def score_table(
    scores: pd.DataFrame,
    composites: pd.DataFrame,
    told: Compared,
    notes: Sequence[str] = (),
) -> Table:
    """The table of all runs from the long frames of scores and composites.

    Metrics that need HQ images have a line on paired benchmarks only. Composite lines are left out
    where no run has one.
    """
    known, lines = means(scores, composites), list[Line]()
    for benchmark, paired in told.benchmarks.items():
        lines += block(known, benchmark, told.names, told.traits, paired)
    lines += block(known, AVERAGE, told.names, (), paired=False)
    return Table(runs=told.names, lines=tuple(lines), notes=tuple(notes))


def means(scores: pd.DataFrame, composites: pd.DataFrame | None = None) -> Known:
    """(run, benchmark, metric) => mean, and the composite scores by the name of COMPOSITE."""
    own = scores[scores["image"] == ""]
    known = own.set_index(["run", "benchmark", "metric"])["value"].to_dict()
    for run, benchmark, value in () if composites is None else composites.itertuples(index=False):
        known[run, benchmark, COMPOSITE.name] = value
    return {key: None if pd.isna(value) else float(value) for key, value in known.items()}


def block(
    known: Known, benchmark: str, runs: Sequence[str], metrics: Sequence[Traits], paired: bool
) -> list[Line]:
    """A line for each metric that a benchmark can have, and the composite where a run has one."""

    def line(traits: Traits) -> Line:
        values = tuple(known.get((run, benchmark, traits.name)) for run in runs)
        return Line(benchmark=benchmark, traits=traits, values=values)

    last = line(COMPOSITE)
    # FID can have a reference from elsewhere: what has a value is shown.
    shown = [x for x in map(line, metrics) if paired or not needs_hq(x.traits) or x.has_values]
    return [*shown, *([last] if last.has_values else [])]


def needs_hq(traits: Traits) -> bool:
    """Whether a metric compares with HQ images: one by one, or, as FID does, with all of them."""
    return traits.full_reference or traits.whole_set


def label(traits: Traits) -> str:
    """A metric's name with its direction."""
    return f"{traits.name} {traits.arrow}"


def grid(table: Table) -> tuple[tuple[str, ...], list[Rows]]:
    """Head and rows of each benchmark; the first two columns are names.

    Rows of runs that have no value on a benchmark are left out.
    """
    blocks = [list(own) for _, own in groupby(table.lines, key=lambda line: line.benchmark)]
    if table.down == "metrics":
        return ("Benchmark", "Metric", *table.runs), [
            [(Cell(one.benchmark), Cell(label(one.traits)), *one.cells) for one in lines]
            for lines in blocks
        ]
    columns = list(dict.fromkeys(label(line.traits) for line in table.lines))
    found = [_runs_down(table.runs, lines, columns) for lines in blocks]
    return ("Benchmark", "Run", *columns), [rows for rows in found if rows]


def _runs_down(runs: Sequence[str], lines: Sequence[Line], columns: Sequence[str]) -> Rows:
    by_metric = {label(line.traits): line.cells for line in lines}
    rows = []
    for index, run in enumerate(runs):
        own = [by_metric[c][index] if c in by_metric else Cell(DASH) for c in columns]
        if any(cell.value is not None for cell in own):
            rows.append((Cell(lines[0].benchmark), Cell(run), *own))
    return rows

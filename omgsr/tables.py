"""Tables of scores: benchmarks and metrics down, runs across; Markdown, CSV and LaTeX (booktabs).

The best value of a line is marked and so is the second best, as in the paper. Values are compared
as they are printed, so two that look equal are marked alike.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from omgsr.composite import AVERAGE
from omgsr.metrics import Traits

DASH = "–"
COMPOSITE = Traits(name="composite", lower_better=False, full_reference=False)
"""The composite score as a line of the table."""
PIPELINE_ONLY = (
    "Profile mini: these numbers show that the pipeline works, on a small model and a handful of "
    "images. They say nothing about the paper's results."
)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric on one benchmark."""

    benchmark: str
    traits: Traits
    values: tuple[float | None, ...]
    """A value a run, None where there is none."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as printed: two decimals from 10 upwards, else four; a dash for None."""
        known = [value for value in self.values if value is not None]
        digits = 2 if known and max(map(abs, known)) >= 10 else 4
        return tuple(DASH if value is None else f"{value:.{digits}f}" for value in self.values)

    @property
    def marks(self) -> tuple[str, ...]:
        """'best', 'second' or '' for each run; nothing is marked where all are equal."""
        numbers = sorted({float(text) for text in self.texts if text != DASH})
        ranked = numbers if self.traits.lower_better else numbers[::-1]
        if len(ranked) < 2:
            return ("",) * len(self.values)
        places = {ranked[0]: "best", ranked[1]: "second"}
        return tuple("" if t == DASH else places.get(float(t), "") for t in self.texts)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Scores of several runs."""

    runs: tuple[str, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    """Sentences that belong below it."""


def score_table(
    scores: pd.DataFrame,
    composites: pd.DataFrame,
    runs: Sequence[str],
    benchmarks: Mapping[str, bool],
    metrics: Sequence[Traits],
    notes: Sequence[str] = (),
) -> Table:
    """The table of all runs from the long frames of scores and composites.

    `benchmarks` tells of each whether it is paired: full-reference metrics have a line there only.
    Composite lines are left out where no run has one.
    """
    means = scores[scores["image"] == ""]
    known = means.set_index(["run", "benchmark", "metric"])["value"].to_dict()
    for run, benchmark, value in composites.itertuples(index=False):
        known[run, benchmark, COMPOSITE.name] = value

    def line(benchmark: str, traits: Traits) -> Line:
        found = [known.get((run, benchmark, traits.name)) for run in runs]
        values = tuple(None if pd.isna(value) else float(value) for value in found)
        return Line(benchmark=benchmark, traits=traits, values=values)

    lines = [
        line(benchmark, traits)
        for benchmark, paired in benchmarks.items()
        for traits in (*metrics, COMPOSITE)
        if paired or not traits.full_reference
    ]
    lines.append(line(AVERAGE, COMPOSITE))
    shown = [x for x in lines if x.traits is not COMPOSITE or any(v is not None for v in x.values)]
    return Table(runs=tuple(runs), lines=tuple(shown), notes=tuple(notes))


def markdown(table: Table, best: str = "**{}**", second: str = "<ins>{}</ins>") -> str:
    """A GitHub table, aligned so that it also reads as plain text; notes below it."""
    marks = {"best": best, "second": second, "": "{}"}
    rows = [["Benchmark", "Metric", *(_pipe(run) for run in table.runs)]]
    for benchmark, lines in groupby(table.lines, key=lambda line: line.benchmark):
        for index, line in enumerate(lines):
            first = "" if index else _pipe(benchmark)
            cells = [marks[mark].format(t) for t, mark in zip(line.texts, line.marks, strict=True)]
            rows.append([first, f"{line.traits.name} {line.traits.arrow}", *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    text = [_aligned(row, widths) for row in [rows[0], rule, *rows[1:]]]
    return "\n".join([*text, *(f"\n{note}" for note in table.notes)]) + "\n"


def plain_csv(table: Table) -> str:
    """benchmark, metric, better, one column a run; unrounded, empty where there is no value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["benchmark", "metric", "better", *table.runs])
    for line in table.lines:
        better = "lower" if line.traits.lower_better else "higher"
        values = ["" if value is None else round(value, 6) for value in line.values]
        writer.writerow([line.benchmark, line.traits.name, better, *values])
    return text.getvalue()


def latex(table: Table) -> str:
    r"""A booktabs table; it needs `\usepackage{booktabs}` and nothing else."""
    marks = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    head = " & ".join(["Benchmark", "Metric", *map(_escape, table.runs)]) + r" \\"
    groups = []
    for benchmark, lines in groupby(table.lines, key=lambda line: line.benchmark):
        body = []
        for index, line in enumerate(lines):
            arrow = r"$\downarrow$" if line.traits.lower_better else r"$\uparrow$"
            texts = [t if t != DASH else "--" for t in line.texts]
            cells = [marks[mark].format(t) for t, mark in zip(texts, line.marks, strict=True)]
            first = "" if index else _escape(benchmark)
            body.append(" & ".join([first, f"{_escape(line.traits.name)} {arrow}", *cells]))
        groups.append("\n".join(row + r" \\" for row in body))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{ll{'r' * len(table.runs)}}}",
            r"\toprule",
            head,
            r"\midrule",
            "\n\\midrule\n".join(groups),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{' '.join(map(_escape, table.notes))}}}",
            r"\end{table}",
            "",
        ]
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    padded += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return f"| {' | '.join(padded)} |"


def _pipe(text: str) -> str:
    return text.replace("|", r"\|")


_LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)

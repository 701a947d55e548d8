"""The paper's tables with our runs in them, and the paper's printed values beside ours.

A form takes those of our runs that its table is about, such as one variant at several timesteps. It
is left out where the sweep holds none to compare. What is quoted is marked and ranked apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from omgsr.evaluation import metrics
from omgsr.evaluation.composite import AVERAGE, composite
from omgsr.evaluation.metrics import Traits
from omgsr.reporting import paper_numbers
from omgsr.reporting.compared import Compared, Run
from omgsr.reporting.paper_numbers import IMAGES
from omgsr.reporting.tables import COMPOSITE, Known, Line, Table, block, means

QUOTED = " (paper)"
"""What is added to the name of a quoted run or block."""
COLUMNS = 16
"""Runs beside each other at most, as more do not fit a page."""
APART = (
    "(paper): printed in the paper, quoted and not measured here. The best and the second best are "
    "marked among ours and among the paper's, never across."
)


@dataclass(frozen=True)
class Form:
    """One of the paper's ablation tables."""

    number: int
    title: str
    variants: tuple[str, ...]
    """Our variants that it is about, stand-ins included: of LPIPS, by ST-LPIPS or SSIM."""
    vary: Literal["variant", "t"]
    """What it compares: these variants, or the timesteps of the first of them that has several."""
    down: Literal["metrics", "runs"] = "runs"
    """What its rows are."""

    def chosen(self, runs: Sequence[Run]) -> list[Run]:
        """Our runs in it, in its order; none where there is nothing to compare."""
        own = [run for name in self.variants for run in runs if run.variant == name]
        if self.vary == "variant":
            return own if len({run.variant for run in own}) > 1 else []
        for name in self.variants:
            same = [run for run in own if run.variant == name]
            if len({run.t for run in same}) > 1:
                return sorted(same, key=lambda run: -run.t)
        return []


FORMS = (
    Form(1, "OSEDiff at several timesteps", ("osediff", "osediff_stlpips", "osediff_ssim"), "t"),
    Form(2, "losses of the latent representation", ("no_lrr", "to_hq", "full"), "variant"),
    Form(4, "perceptual losses, LPIPS and Dv3CD", ("lpips", "stlpips", "ssim", "full"), "variant"),
    Form(5, "timesteps of injection", ("no_lrr", "full", "to_hq", "lpips"), "t", "metrics"),
)


def tables(scores: pd.DataFrame, told: Compared) -> dict[int, Table]:
    """Number => table, of those that our runs can stand in.

    Table 3 holds the benchmarks that have the paper's names and sizes.
    """
    found = {}
    same = {n: p for n, p in told.benchmarks.items() if IMAGES.get(n) == told.sizes[n]}
    if same:
        found[3] = _methods(scores, told, same)
    for form in FORMS:
        own = form.chosen(told.runs)
        if own:
            found[form.number] = _ablation(form, scores, own, told)
    return dict(sorted(found.items()))


def _methods(scores: pd.DataFrame, told: Compared, benchmarks: Mapping[str, bool]) -> Table:
    """Table 3: our runs and the paper's methods side by side."""
    known = {**means(scores), **means(paper_numbers.table(3).assign(image=""))}
    there = {run for run, name, _ in known if name in benchmarks}
    ours = [run for run in told.names if run in there]
    theirs = paper_numbers.METHODS
    runs = [*ours, *theirs]
    lines = [
        replace(line, quoted=len(theirs))
        for name, paired in benchmarks.items()
        for line in block(known, name, runs, _traits(told, 3), paired)
    ]
    return Table(
        runs=(*ours, *(name + QUOTED for name in theirs.values())),
        lines=tuple(lines),
        title="Table 3 of the paper: methods.",
        down="metrics" if len(runs) <= COLUMNS else "runs",
        notes=(*told.caveats, APART, *paper_numbers.notes(3, tuple(benchmarks))),
    )


def _ablation(form: Form, scores: pd.DataFrame, runs: Sequence[Run], told: Compared) -> Table:
    """Our runs in blocks of our benchmarks, the paper's in blocks of its own."""
    traits, columns = _traits(told, form.number), _columns(form, runs)
    measured = scores[scores["run"].isin(list(columns))]
    measured = measured.assign(run=measured["run"].map(columns))
    # In Table 5 also the composite scores over the runs that it holds.
    combined = measured[measured["metric"].isin(told.combined)]
    known = means(measured, composite(combined, told.lower) if form.number == 5 else None)
    printed = _printed(form)
    names = _order(form, list(columns.values()), printed)
    lines: list[Line] = []
    for name in dict.fromkeys([*told.benchmarks, *paper_numbers.BENCHMARKS, AVERAGE]):
        if name in told.benchmarks:
            lines += block(known, name, names, told.traits, told.benchmarks[name])
        elif name == AVERAGE:
            lines += block(known, name, names, (), paired=False)
        if name in (*paper_numbers.BENCHMARKS, AVERAGE):
            paper = block(printed, name + QUOTED, names, traits, paired=True)
            lines += [line for line in paper if line.has_values]
    variants = ", ".join(dict.fromkeys(run.variant for run in runs))
    return Table(
        runs=tuple(names),
        lines=tuple(lines),
        title=f"Table {form.number} of the paper: {form.title} (ours: {variants}).",
        notes=(*told.caveats, APART, *paper_numbers.notes(form.number)),
        down=form.down,
    )


def _columns(form: Form, runs: Sequence[Run]) -> dict[str, str]:
    """Run => what it is called in the table: its timestep where that is what a column is."""
    steps = [run.t for run in runs]
    plain = form.down == "metrics" and len(set(steps)) == len(steps)
    return {run.name: str(run.t) if plain else run.name for run in runs}


def _order(form: Form, ours: Sequence[str], printed: Known) -> list[str]:
    """Ours, then the paper's; timesteps all together, from the first of the noise to the last."""
    names = list(dict.fromkeys([*ours, *(run for run, _, _ in printed)]))
    if form.down == "runs":
        return names
    return sorted(names, key=lambda name: -int(name) if name.isdigit() else -1000)


def _printed(form: Form) -> Known:
    """The paper's values in blocks of their own names."""
    frame = paper_numbers.table(form.number)
    frame["benchmark"] += QUOTED
    if form.down == "metrics":
        frame["run"] = frame["run"].str.removeprefix("no_lrr-")
    else:
        frame["run"] += QUOTED
    return means(frame.assign(image=""))


def _traits(told: Compared, number: int) -> list[Traits]:
    """Our metrics, and those of the paper's table that we do not have."""
    printed = paper_numbers.table(number)["metric"].unique()
    more = [name for name in printed if name not in told.lower and name != COMPOSITE.name]
    return [*told.traits, *map(metrics.traits, more)]

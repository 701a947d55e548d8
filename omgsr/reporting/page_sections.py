"""The sections of the report's page, from the frames and files that the stages have written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pandas as pd

from omgsr.evaluation.composite import AVERAGE
from omgsr.reporting import figures, page, timestep_figure
from omgsr.reporting.compared import Run
from omgsr.reporting.page import Block
from omgsr.reporting.tables import DASH, Cell, Table, grid, label


def timestep(curve: pd.DataFrame, found: Mapping[str, Any], images: pd.DataFrame) -> Block:
    """The curve of Eq. 5 with t*, its interval and every image's own t."""
    figure = timestep_figure.timestep_curve(curve, found, images)
    text = (
        f"t* = {found['t']}, 95 % interval {found['low']} to {found['high']}, from "
        f"{found['images']} pairs (Eqs. 4 and 5)."
    )
    plots = [page.svg(figure, f"Mean SNR gap over the timestep, least at {found['t']}")]
    return Block("timestep", "Mid-timestep", text, plots=plots)


def scores(table: Table, intervals: pd.DataFrame) -> Block:
    """Every metric on every benchmark, a column a run, with 95 % intervals below the means."""
    known = intervals.set_index(["run", "benchmark", "metric"])

    def with_interval(run: str, benchmark: str, metric: str, cell: Cell) -> Cell:
        if cell.value is None or (run, benchmark, metric) not in known.index:
            return cell
        low, high = known.loc[(run, benchmark, metric), ["low", "high"]]
        digits = len(cell.text.partition(".")[2])
        return replace(cell, text=f"{cell.text} [{low:.{digits}f}, {high:.{digits}f}]")

    rows = [
        [Cell(line.benchmark), Cell(label(line.traits))]
        + [
            with_interval(run, line.benchmark, line.traits.name, cell)
            for run, cell in zip(table.runs, line.cells, strict=True)
        ]
        for line in table.lines
    ]
    text = (
        "Means over the images of a benchmark with bootstrap 95 % intervals. The best value "
        "of a line is bold, the second best underlined. A click on a column's head sorts."
    )
    table_of_all = page.Table(["benchmark", "metric", *table.runs], rows, names=2)
    return Block("scores", "Scores", text, tables=[table_of_all])


def paper(found: Sequence[Table]) -> Block:
    """Our runs in the form of the paper's tables, beside what the paper prints."""
    shown = []
    for table in found:
        head, blocks = grid(table)
        shown.append(page.Table(head, list(chain(*blocks)), 2, table.title, table.notes))
    none = "None of the paper's tables is about these runs and benchmarks."
    return Block("paper", "The paper's tables", "" if shown else none, tables=shown)


def differences(frame: pd.DataFrame, reference: str) -> Block:
    """Every run against one, image by image."""
    head = ["run", "benchmark", "metric", f"minus {reference}", "low", "high", "won", "lost"]
    rows = [
        [Cell(one.run), Cell(one.benchmark), Cell(one.metric)]
        + [_number(value, "+.4f") for value in (one.difference, one.low, one.high)]
        + [_number(count, ".0f") for count in (one.won, one.lost)]
        for one in frame.itertuples(index=False)
    ]
    text = (
        "Mean difference over the same images with its 95 % interval, and the number of "
        "images on which each of the two is better. An interval without zero is a difference "
        "that this benchmark can tell. A metric of whole sets has neither interval nor wins."
    )
    tables = [page.Table(head, rows, names=3)]
    return Block("differences", f"Against {reference}", text, tables=tables)


def composites(frame: pd.DataFrame, runs: Sequence[Run]) -> Block:
    """Composite scores of the runs in the form of the paper's Figure 4 and Table 5."""
    if frame["composite"].isna().all():
        text = "A composite score compares OMGSR runs, so it takes at least two of them."
        return Block("composite", "Composite score", text)
    names = list(dict.fromkeys(frame["benchmark"]))
    wide = frame.pivot(index="run", columns="benchmark", values="composite").astype(float)
    best = wide[AVERAGE].max()
    timesteps = {run.name: run.t for run in runs}
    rows = [
        [Cell(run), Cell(str(timesteps[run]), value=timesteps[run])]
        + [
            _number(value, ".4f", "best" if name == AVERAGE and value == best else "")
            for name, value in wide.loc[run, names].items()
        ]
        for run in dict.fromkeys(frame["run"])
    ]
    figure = figures.composite_curve(frame, runs)
    text = (
        "Every metric is scaled to 0..1 over the runs of a benchmark, 1 the best, and "
        "averaged (Eqs. 20 to 23). The values depend on which runs are compared."
    )
    plots = [page.svg(figure, "Composite score over the timestep of injection")]
    tables = [page.Table(["run", "t", *names], rows)]
    return Block("composite", "Composite score", text, plots, tables)


def pictures(found: Sequence[page.Picture]) -> Block:
    """Before and after."""
    text = "Move the slider; the menus choose what stands left and right of it, and the zoom."
    return Block("pictures", "Before and after", text, pictures=found)


def losses(histories: Mapping[str, pd.DataFrame]) -> Block:
    """Losses, validation scores and gradient norms of the trainings."""
    figure = figures.loss_curves(histories)
    plots = [page.svg(figure, "Losses, validation scores and gradient norms over the steps")]
    return Block("training", "Training", plots=plots)


def evidence(contract: Sequence[Mapping[str, Any]], **told: Any) -> Block:
    """How the numbers were made: the contract a metric, then settings, run cards, environment."""
    texts = {
        name.replace("_", " "): json.dumps(value, indent=2, ensure_ascii=False, default=str)
        for name, value in told.items()
    }
    texts = {"evaluation contract": json.dumps(contract, indent=2, ensure_ascii=False), **texts}
    tables = [_contract(one) for one in contract]
    return Block("how", "How these numbers were made", tables=tables, texts=texts)


def _contract(told: Mapping[str, Any]) -> page.Table:
    """A row a metric, a column for whatever is told of it; what is told of all of them below."""
    metrics = told["metrics"]
    names = [n for n in dict.fromkeys(n for one in metrics.values() for n in one) if n != "name"]
    rows = [
        [Cell(metric), *(Cell(_plain(one.get(name))) for name in names)]
        for metric, one in metrics.items()
    ]
    common = {k: v for k, v in told.items() if k not in ("metrics", "runs", "unavailable", "notes")}
    return page.Table(
        head=["metric", *(name.replace("_", " ") for name in names)],
        rows=rows,
        caption=f"Scores of {', '.join(told['runs'])}",
        notes=[_plain(common), *told["unavailable"].values()],
    )


def _plain(value: Any) -> str:
    """A value of JSON as a reader wants it; of a file's hash its first twelve digits."""
    if isinstance(value, Mapping):
        found = {name.replace("_", " "): _plain(one) for name, one in value.items()}
        if "sha256" in found:
            return f"{found.get('file', '')} (sha256 {found['sha256'][:12]}…)"
        return ", ".join(f"{name}: {one}" for name, one in found.items()) or DASH
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or DASH
    if value is None or isinstance(value, bool):
        return {None: DASH, True: "yes", False: "no"}[value]
    return str(value)


def _number(value: Any, form: str, mark: str = "") -> Cell:
    """A cell that is sorted by its number; a dash where there is none."""
    if pd.isna(value):
        return Cell(DASH)
    return Cell(format(float(value), form), mark, float(value))

"""The sections of the report's page, from the frames and files that the stages have written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from omgsr.core.settings import read_yaml
from omgsr.evaluation.composite import AVERAGE
from omgsr.reporting import figures, page, timestep_figure
from omgsr.reporting.compared import Run
from omgsr.reporting.page import Block
from omgsr.reporting.tables import DASH, Cell, Table, grid, label


def timestep(curve: pd.DataFrame, found: Mapping[str, Any], images: pd.DataFrame) -> Block:
    """The curve of Eq. 5 with t*, its interval and every image's own t."""
    figure = timestep_figure.timestep_curve(curve, found, images)
    plots = [page.svg(figure, f"Mean SNR gap over the timestep, least at {found['t']}")]
    return _block("timestep", found, plots=plots)


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
    table_of_all = page.Table(["benchmark", "metric", *table.runs], rows, names=2)
    return _block("scores", tables=[table_of_all])


def paper(found: Sequence[Table]) -> Block:
    """Our runs in the form of the paper's tables, beside what the paper prints."""
    shown = []
    for table in found:
        head, blocks = grid(table)
        shown.append(page.Table(head, list(chain(*blocks)), 2, table.title, table.notes))
    return _block("paper", said="text" if shown else "none", tables=shown)


def differences(frame: pd.DataFrame, reference: str) -> Block:
    """Every run against one, image by image."""
    head = ["run", "benchmark", "metric", f"minus {reference}", "low", "high", "won", "lost"]
    rows = [
        [Cell(one.run), Cell(one.benchmark), Cell(one.metric)]
        + [_number(value, "+.4f") for value in (one.difference, one.low, one.high)]
        + [_number(count, ".0f") for count in (one.won, one.lost)]
        for one in frame.itertuples(index=False)
    ]
    tables = [page.Table(head, rows, names=3)]
    return _block("differences", {"reference": reference}, tables=tables)


def composites(frame: pd.DataFrame, runs: Sequence[Run]) -> Block:
    """Composite scores of the runs in the form of the paper's Figure 4 and Table 5."""
    if frame["composite"].isna().all():
        return _block("composite", said="none")
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
    plots = [page.svg(figure, "Composite score over the timestep of injection")]
    tables = [page.Table(["run", "t", *names], rows)]
    return _block("composite", plots=plots, tables=tables)


def pictures(found: Sequence[page.Picture]) -> Block:
    """Before and after."""
    return _block("pictures", pictures=found)


def losses(histories: Mapping[str, pd.DataFrame]) -> Block:
    """Losses, validation scores and gradient norms of the trainings."""
    figure = figures.loss_curves(histories)
    plots = [page.svg(figure, "Losses, validation scores and gradient norms over the steps")]
    return _block("training", plots=plots)


def evidence(contract: Sequence[Mapping[str, Any]], **told: Any) -> Block:
    """How the numbers were made: the contract a metric, then settings, run cards, environment."""
    texts = {
        name.replace("_", " "): json.dumps(value, indent=2, ensure_ascii=False, default=str)
        for name, value in told.items()
    }
    texts = {"evaluation contract": json.dumps(contract, indent=2, ensure_ascii=False), **texts}
    return _block("how", tables=[_contract(one) for one in contract], texts=texts)


def _block(
    name: str, values: Mapping[str, Any] | None = None, said: str = "text", **parts: Any
) -> Block:
    """A section with its title and text of assets/page/sections.yaml, `values` filled in."""
    own = _texts()[name]
    title, text = (own[key].format(**values or {}) for key in ("title", said))
    return Block(name, title, text, **parts)


@cache
def _texts() -> dict[str, Any]:
    path = Path(str(files("omgsr")), "assets", "page", "sections.yaml")
    return read_yaml(path, path.name)


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

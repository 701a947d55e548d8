"""The sections of the report's page, from the frames and files that the stages have written."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from omgsr.evaluation.composite import AVERAGE
from omgsr.reporting import figures, page, paper_numbers, timestep_figure
from omgsr.reporting.page import Block, Cell
from omgsr.reporting.tables import DASH, Table, grid, label


def timestep(curve: pd.DataFrame, found: Mapping[str, Any], images: pd.DataFrame) -> Block:
    """The curve of Eq. 5 with t*, its interval and every image's own t."""
    figure = timestep_figure.timestep_curve(curve, found, images)
    return Block(
        id="timestep",
        title="Mid-timestep",
        text=f"t* = {found['t']}, 95 % interval {found['low']} to {found['high']}, from "
        f"{found['images']} pairs (Eqs. 4 and 5).",
        plots=[page.svg(figure, f"Mean SNR gap over the timestep, least at {found['t']}")],
    )


def scores(table: Table, intervals: pd.DataFrame) -> Block:
    """Every metric on every benchmark, a column a run, with 95 % intervals below the means."""
    known = intervals.set_index(["run", "benchmark", "metric"])
    rows = []
    for line in table.lines:
        cells = [Cell(text=line.benchmark), Cell(text=label(line.traits))]
        for run, value, text, mark in zip(
            table.runs, line.values, line.texts, line.marks, strict=True
        ):
            key = (run, line.benchmark, line.traits.name)
            more = ""
            if value is not None and key in known.index:
                low, high = known.loc[key, ["low", "high"]]
                digits = len(text.partition(".")[2])
                more = f" [{low:.{digits}f}, {high:.{digits}f}]"
            cells.append(Cell(text=text + more, mark=mark, order=value))
        rows.append(cells)
    return Block(
        id="scores",
        title="Scores",
        text="Means over the images of a benchmark with bootstrap 95 % intervals. The best value "
        "of a line is bold, the second best underlined. A click on a column's head sorts.",
        tables=[page.Table(head=["benchmark", "metric", *table.runs], rows=rows, names=2)],
    )


def paper(found: Sequence[Table]) -> Block:
    """Our runs in the form of the paper's tables, beside what the paper prints."""
    shown = []
    for table in found:
        laid = grid(table)
        rows = [
            [Cell(text=cell.text, mark=cell.mark, order=cell.value) for cell in row]
            for block in laid.blocks
            for row in block
        ]
        shown.append(
            page.Table(head=laid.head, rows=rows, names=2, caption=table.title, notes=table.notes)
        )
    none = "None of the paper's tables is about these runs and benchmarks."
    return Block(id="paper", title="The paper's tables", text="" if shown else none, tables=shown)


def differences(frame: pd.DataFrame, reference: str) -> Block:
    """Every run against one, image by image."""
    head = ["run", "benchmark", "metric", f"minus {reference}", "low", "high", "won", "lost"]
    rows = [
        [Cell(text=one.run), Cell(text=one.benchmark), Cell(text=one.metric)]
        + [_number(value, "+.4f") for value in (one.difference, one.low, one.high)]
        + [_number(count, ".0f") for count in (one.won, one.lost)]
        for one in frame.itertuples(index=False)
    ]
    return Block(
        id="differences",
        title=f"Against {reference}",
        text="Mean difference over the same images with its 95 % interval, and the number of "
        "images on which each of the two is better. An interval without zero is a difference "
        "that this benchmark can tell. A metric of whole sets has neither interval nor wins.",
        tables=[page.Table(head=head, rows=rows, names=3)],
    )


def composites(
    frame: pd.DataFrame, timesteps: Mapping[str, int], variants: Mapping[str, str]
) -> Block:
    """Composite scores of the runs in the form of the paper's Figure 4 and Table 5."""
    if frame["composite"].isna().all():
        text = "A composite score compares OMGSR runs, so it takes at least two of them."
        return Block(id="composite", title="Composite score", text=text)
    names = list(dict.fromkeys(frame["benchmark"]))
    wide = frame.pivot(index="run", columns="benchmark", values="composite")
    best = frame[frame["benchmark"] == AVERAGE]["composite"].dropna().astype(float).max()
    rows = []
    for run in dict.fromkeys(frame["run"]):
        values = [None if pd.isna(v) else float(v) for v in wide.loc[run, names]]
        cells = [
            _number(value, ".4f", "best" if name == AVERAGE and value == best else "")
            for name, value in zip(names, values, strict=True)
        ]
        rows.append([Cell(text=run), Cell(text=str(timesteps[run]), order=timesteps[run]), *cells])
    figure = figures.composite_curve(frame, timesteps, variants, paper_numbers.figure_4())
    return Block(
        id="composite",
        title="Composite score",
        text="Every metric is scaled to 0..1 over the runs of a benchmark, 1 the best, and "
        "averaged (Eqs. 20 to 23). The values depend on which runs are compared.",
        plots=[page.svg(figure, "Composite score over the timestep of injection")],
        tables=[page.Table(head=["run", "t", *names], rows=rows)],
    )


def pictures(found: Sequence[page.Picture]) -> Block:
    """Before and after."""
    return Block(
        id="pictures",
        title="Before and after",
        text="Move the slider; the menus choose what stands left and right of it, and the zoom.",
        pictures=found,
    )


def losses(histories: Mapping[str, pd.DataFrame]) -> Block:
    """Losses, validation scores and gradient norms of the trainings."""
    figure = figures.loss_curves(histories)
    plots = [page.svg(figure, "Losses, validation scores and gradient norms over the steps")]
    return Block(id="training", title="Training", plots=plots)


def evidence(contract: Sequence[Mapping[str, Any]], **told: Any) -> Block:
    """How the numbers were made: the contract a metric, then settings, run cards, environment."""
    texts = {
        name.replace("_", " "): json.dumps(value, indent=2, ensure_ascii=False, default=str)
        for name, value in told.items()
    }
    texts = {"evaluation contract": json.dumps(contract, indent=2, ensure_ascii=False), **texts}
    title = "How these numbers were made"
    return Block(id="how", title=title, tables=[_contract(one) for one in contract], texts=texts)


def _contract(told: Mapping[str, Any]) -> page.Table:
    """A row a metric, a column for whatever is told of it; what is told of all of them below."""
    metrics = told["metrics"]
    names = [n for n in dict.fromkeys(n for one in metrics.values() for n in one) if n != "name"]
    rows = [
        [Cell(text=metric), *(Cell(text=_plain(one.get(name))) for name in names)]
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
        return Cell(text=DASH)
    return Cell(text=format(float(value), form), mark=mark, order=float(value))

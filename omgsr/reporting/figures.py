"""Figures of the report: losses and composite scores. Values in, Figure out.

Every function makes its own Figure object: no pyplot, so nothing is shared and nothing stays open.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from omgsr.evaluation.composite import AVERAGE
from omgsr.reporting import paper_numbers
from omgsr.reporting.compared import Run
from omgsr.reporting.plot_style import clean, colors, flag, message


def loss_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for each column of the histories, a line for each run: values and running mean.

    A history has a column `step` and one for each term, val/<metric> and grad/<term>; runs may have
    different columns.
    """
    names = dict.fromkeys(n for table in histories.values() for n in table if n != "step")
    if not names:
        return message("No run has a loss history.")
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows + 0.6), dpi=130, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        for color, table in zip(colors(len(histories)), histories.values(), strict=True):
            if name in table:
                _loss(axes, table["step"], table[name], color)
        axes.set_title(name)
        axes.set_xlabel("step")
        clean(axes)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    handles = [Line2D([], [], color=color) for color in colors(len(histories))]
    figure.legend(handles, list(histories), loc="outside upper center", ncols=4, frameon=False)
    return figure


def composite_curve(
    composites: pd.DataFrame,
    runs: Sequence[Run],
) -> Figure:
    """Composite score over the timestep of injection, 999 to 1: the form of the paper's Figure 4.

    The paper's own average (Table 5) is drawn behind: its shape is what to compare, as composites
    of two sets of runs are not on one scale.

    One variant: a thin line for each benchmark and a thick one for the average. Several: the
    average of each. Runs that differ in their seed alone are points about their mean, through which
    the line goes. Runs without a composite are left out; where none has one the figure says so.
    """
    table = composites.dropna(subset=["composite"])
    table = table.assign(
        t=table["run"].map({run.name: run.t for run in runs}),
        variant=table["run"].map({run.name: run.variant for run in runs}),
        composite=table["composite"].astype(float),
    )
    if table.empty:
        return message("No composite score: it compares runs, so it takes at least two.")
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    behind(axes, "paper's average (Table 5)")
    axes.set(xlabel="timestep t", ylabel="composite score ↑", ylim=(-0.05, 1.15))
    axes.set_title("Composite score of the runs (Eqs. 20-23)")
    axes.set_xlim(1020, -20)
    _composite_lines(axes, table)
    figure.legend(loc="outside right center", frameon=False)
    clean(axes)
    return figure


def behind(axes: Axes, label: str) -> None:
    """Draws the paper's own average composite over t (Fig. 4) behind ours."""
    paper = paper_numbers.figure_4()
    axes.plot(paper["t"], paper["composite"], "--", color="0.65", zorder=0, label=label)


def _composite_lines(axes: Axes, table: pd.DataFrame) -> None:
    """Means over seeds as lines, single runs as points, and the best average named."""
    average = table[table["benchmark"] == AVERAGE]
    several = average["variant"].nunique() > 1
    shown, key = (average, "variant") if several else (table, "benchmark")
    lines = shown.groupby(key, sort=False)
    for (name, own), color in zip(lines, colors(len(lines)), strict=True):
        bold = several or name == AVERAGE
        color = "black" if name == AVERAGE else color
        style: dict[str, Any] = {"linewidth": 2.5 if bold else 1, "marker": "o" if bold else "."}
        mean = own.groupby("t")["composite"].mean()
        axes.plot(mean.index, mean, label=name, color=color, **style)
        if len(mean) < len(own):
            axes.scatter(own["t"], own["composite"], s=12, color=color, alpha=0.5)
    if len(average):
        means = average.groupby(["variant", "t"], sort=False)["composite"].mean()
        (_, best), value = means.idxmax(), means.max()
        flag(axes, best, value, f"best average: t = {best}")


def _loss(axes: Axes, step: pd.Series, values: pd.Series, color: str) -> None:
    values = values.dropna()  # a validation or a gradient norm is not in every row
    step = step[values.index]
    window = max(1, len(values) // 20)
    mean = values.rolling(window, min_periods=1, center=True).mean()
    axes.plot(step, values, color=color, alpha=0.3, linewidth=0.7)
    axes.plot(step, mean, color=color, linewidth=1.5)

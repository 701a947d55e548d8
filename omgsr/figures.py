"""Figures of the report: t* and its curve, losses, composite scores. Values in, Figure out.

Every function makes its own Figure object: no pyplot, so nothing is shared and nothing stays open.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from omgsr.composite import AVERAGE
from omgsr.files import write_bytes

# Okabe and Ito's colours, which people with colour blindness can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BEST = "#D55E00"


def save(figure: Figure, path: Path | str) -> None:
    """Writes a PNG, whole or not at all; equal figures give equal bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def timestep_curve(curve: pd.DataFrame, result: Mapping[str, Any], images: pd.DataFrame) -> Figure:
    """The mean SNR gap over t with t* and its interval (Eq. 5), and every image's own t.

    `curve` has columns t and gap; `result` has t, images, low, high; `images` has column t.
    """
    figure = Figure(figsize=(8, 6), dpi=150, layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    t, low, high = result["t"], result["low"], result["high"]
    top.plot(curve["t"], curve["gap"], color=COLORS[0])
    least = float(curve.loc[curve["t"] == t, "gap"].iloc[0])
    top.plot([t], [least], "o", color=BEST, zorder=3)
    top.set(yscale="log", ylabel="mean |SNR(z_t) − SNR(z_L)|")
    top.set_title(
        f"Mid-timestep t* = {t}, 95 % interval {low} to {high}, from {result['images']} images"
    )
    bottom.hist(images["t"], bins=np.arange(0, 1001, 20), color=COLORS[5])
    bottom.set(xlabel="timestep t", ylabel="images", xlim=(0, 1000))
    _flag(top, t, least, f"  t* = {t}")
    bottom.yaxis.get_major_locator().set_params(integer=True)
    for axes in (top, bottom):
        # An interval of one timestep would be invisible without its edges.
        axes.axvspan(low - 0.5, high + 0.5, color=BEST, alpha=0.2, linewidth=1, label="95 %")
        axes.axvline(t, color=BEST, linewidth=1)
        _clean(axes)
    bottom.set_title("each image's own best timestep", loc="left", fontsize="medium")
    return figure


def loss_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel for each loss term, a line for each run: its values and their running mean.

    A history has a column `step` and one for each term; runs may have different terms.
    """
    names = dict.fromkeys(n for table in histories.values() for n in table if n != "step")
    if not names:
        return message("No run has a loss history.")
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows + 0.6), dpi=130, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        for color, table in zip(_colors(len(histories)), histories.values(), strict=True):
            if name in table:
                _loss(axes, table["step"], table[name], color)
        axes.set_title(name)
        axes.set_xlabel("step")
        _clean(axes)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    _legend(figure, list(histories))
    return figure


def composite_curve(
    composites: pd.DataFrame, timesteps: Mapping[str, int], variants: Mapping[str, str]
) -> Figure:
    """Composite score over the timestep of injection, 999 to 1: the form of the paper's Figure 4.

    One variant: a thin line for each benchmark and a thick one for the average. Several: the
    average of each. `timesteps` and `variants` give those of every run. Runs without a composite
    are left out; where none has one the figure says so.
    """
    table = composites.dropna(subset=["composite"])
    table = table.assign(
        t=table["run"].map(timesteps),
        variant=table["run"].map(variants),
        composite=table["composite"].astype(float),
    )
    if table.empty:
        return message("No composite score: it compares runs, so it takes at least two.")
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    average = table[table["benchmark"] == AVERAGE]
    several = average["variant"].nunique() > 1
    lines = average.groupby("variant", sort=False) if several else _by_benchmark(table)
    for (name, own), color in zip(lines, _colors(len(lines)), strict=True):
        bold = several or name == AVERAGE
        color = "black" if name == AVERAGE else color
        style: dict[str, Any] = {"linewidth": 2.5 if bold else 1, "marker": "o" if bold else "."}
        points = own.sort_values("t")
        axes.plot(points["t"], points["composite"], label=name, color=color, **style)
    axes.set(xlabel="timestep t", ylabel="composite score ↑", ylim=(-0.05, 1.15))
    axes.set_title("Composite score of the runs (Eqs. 20-23)")
    axes.set_xlim(1020, -20)
    if len(average):
        best = average.loc[average["composite"].idxmax()]
        _flag(axes, best["t"], best["composite"], f"best average: t = {best['t']}")
    figure.legend(loc="outside right center", frameon=False)
    _clean(axes)
    return figure


def message(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = Figure(figsize=(8, 1.5), dpi=130)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def _by_benchmark(table: pd.DataFrame) -> Any:
    return table.groupby("benchmark", sort=False)


def _loss(axes: Axes, step: pd.Series, values: pd.Series, color: str) -> None:
    window = max(1, len(values) // 20)
    mean = values.rolling(window, min_periods=1, center=True).mean()
    axes.plot(step, values, color=color, alpha=0.3, linewidth=0.7)
    axes.plot(step, mean, color=color, linewidth=1.5)


def _colors(count: int) -> Sequence[str]:
    return [COLORS[index % len(COLORS)] for index in range(count)]


def _flag(axes: Axes, x: float, y: float, text: str) -> None:
    # Towards the middle of the axis, which may run either way, so that the text stays inside.
    start, end = axes.get_xlim()
    side = "left" if (x - start) / (end - start) < 0.5 else "right"
    axes.annotate(
        text, (x, y), (0, 12), textcoords="offset points", ha=side, color=BEST, weight="bold"
    )


def _legend(figure: Figure, names: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=color) for color in _colors(len(names))]
    figure.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)

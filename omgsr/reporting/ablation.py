"""An ablation read back: mean and spread over seeds, the order of its settings, figure and text.

A setting is a variant at a timestep; its runs differ in their seed alone.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pandas as pd
from matplotlib.figure import Figure

from omgsr.evaluation.composite import AVERAGE
from omgsr.reporting import table_formats
from omgsr.reporting.compared import Run
from omgsr.reporting.figures import behind
from omgsr.reporting.plot_style import BEST, clean, colors, message

FEW = 3
"""Settings up to which they stand side by side instead of along an axis of timesteps."""


def spread(values: pd.DataFrame, runs: Sequence[Run]) -> pd.DataFrame:
    """Mean and sample standard deviation over the seeds of each setting.

    `values` is long, with columns run, value and any keys, such as benchmark and metric => setting,
    variant, t, the keys, mean, sd, least, largest, seeds. The sd of one seed is empty.
    """
    rows = [(run.name, run.setting, run.variant, run.t) for run in runs]
    about = pd.DataFrame(rows, columns=["run", "setting", "variant", "t"])
    keys = [name for name in values if name not in ("run", "value")]
    table = about.merge(values.assign(value=values["value"].astype(float)), on="run")
    grouped = table.groupby(["setting", "variant", "t", *keys], sort=False)["value"]
    made = grouped.agg(mean="mean", sd="std", least="min", largest="max", seeds="count")
    return made.reset_index()


def verdict(composites: pd.DataFrame, runs: Sequence[Run]) -> list[str]:
    """How the settings stand by their average composite, and whether seeds change that, in words.

    `composites` has columns run, benchmark and value. Neighbours in the order are compared seed by
    seed, where both have the same seeds.
    """
    average = composites[composites["benchmark"] == AVERAGE].set_index("run")["value"]
    own = {run.name: run for run in runs}
    frame = pd.DataFrame(
        [(own[n].setting, own[n].seed, float(v)) for n, v in average.dropna().items() if n in own],
        columns=["setting", "seed", "value"],
    )
    if frame.empty:
        return ["No average composite score: runs lack a score that others have."]
    wide = frame.pivot(index="seed", columns="setting", values="value")
    order = wide.mean().sort_values(ascending=False)
    said = [f"Best average composite: {order.index[0]}, {order.iloc[0]:.3f}."]
    if len(wide) == 1:
        said.append(
            "One seed: nothing here says how far another seed would move a point, so a small "
            "difference between neighbours is no finding."
        )
        return said
    for better, worse in pairwise(order.index):
        gap = (wide[better] - wide[worse]).dropna()
        said.append(
            f"{better} is above {worse} by {gap.mean():.3f} (sd {gap.std():.3f}) and with "
            f"{int((gap > 0).sum())} of {len(gap)} seeds."
        )
    return said


def table(summary: pd.DataFrame) -> str:
    """Markdown: a row a setting, its composite by benchmark and on average, mean ± sd."""
    benchmarks = list(dict.fromkeys(summary["benchmark"]))
    body = []
    for setting, own in summary.groupby("setting", sort=False):
        cells = own.set_index("benchmark").reindex(benchmarks)
        shown = map(_cell, cells["mean"], cells["sd"])
        body.append((setting, int(own["seeds"].max()), *shown))
    return "\n".join(table_formats.rows(["setting", "seeds", *benchmarks], 1, body))


def figure(
    summary: pd.DataFrame,
    composites: pd.DataFrame,
    runs: Sequence[Run],
    star: Mapping[str, int],
    paper: bool = False,
) -> Figure:
    """Average composite over t with t* and its interval, or side by side for few timesteps.

    `star` has t, low and high; with `paper` its own average (Fig. 4) is drawn behind.
    """
    average = summary[(summary["benchmark"] == AVERAGE) & summary["mean"].notna()]
    if average.empty:
        return message("No composite score: it compares runs, so it takes at least two.")
    if average["t"].nunique() <= FEW:
        return _side_by_side(average, composites, runs)
    return _over_timesteps(summary[summary["mean"].notna()], star, paper)


def _over_timesteps(summary: pd.DataFrame, star: Mapping[str, int], paper: bool) -> Figure:
    made = Figure(figsize=(9, 4.5), dpi=130, layout="constrained")
    axes = made.subplots()
    if paper:
        behind(axes, "the paper's average (Table 5)")
    lines = summary.groupby(["variant", "benchmark"], sort=False)
    for (key, own), color in zip(lines, colors(len(lines)), strict=True):
        whole, points = key[1] == AVERAGE, own.sort_values("t")
        color, width = ("black", 2.5) if whole else (color, 1)
        label = f"{key[0]}, {key[1]}"
        axes.plot(points["t"], points["mean"], ".-", label=label, color=color, linewidth=width)
        low, high = (points["mean"] + sign * points["sd"] for sign in (-1, 1))
        axes.fill_between(points["t"], low, high, color=color, alpha=0.15, linewidth=0)
    axes.axvspan(star["low"] - 0.5, star["high"] + 0.5, color=BEST, alpha=0.2, linewidth=1)
    axes.axvline(star["t"], color=BEST, linewidth=1.5, label=f"t* = {star['t']} (Eq. 5), 95 %")
    axes.set(xlabel="timestep t", ylabel="composite score ↑", ylim=(-0.05, 1.05), xlim=(1020, -20))
    made.legend(loc="outside right center", frameon=False)
    clean(axes)
    return made


def _side_by_side(average: pd.DataFrame, composites: pd.DataFrame, runs: Sequence[Run]) -> Figure:
    made = Figure(figsize=(2.2 + 1.6 * len(average), 4), dpi=130, layout="constrained")
    axes = made.subplots()
    places = {setting: place for place, setting in enumerate(average["setting"])}
    axes.errorbar(
        list(places.values()), average["mean"], average["sd"].fillna(0), fmt="o", color="black",
        capsize=4, zorder=3, label="mean and sd of the average",
    )  # fmt: skip
    setting = {run.name: run.setting for run in runs}
    own = composites[composites["run"].isin(setting) & composites["value"].notna()]
    groups = own.groupby("benchmark", sort=False)
    for (benchmark, rows), color in zip(groups, colors(len(groups)), strict=True):
        whole = benchmark == AVERAGE
        x = [places[setting[run]] + (0.12 if whole else -0.12) for run in rows["run"]]
        color, marker = ("0.4", "_") if whole else (color, ".")
        label = "average, a seed each" if whole else benchmark
        y = rows["value"].astype(float)
        axes.scatter(x, y, s=40, label=label, color=color, marker=marker)
    axes.set_xticks(list(places.values()), [s.replace(", ", "\n", 1) for s in places])
    axes.set(ylabel="composite score ↑", ylim=(-0.05, 1.05), xlim=(-0.6, len(places) - 0.4))
    made.legend(loc="outside right center", frameon=False)
    clean(axes)
    return made


def _cell(mean: float, sd: float) -> str:
    if pd.isna(mean):
        return "–"
    return f"{mean:.3f}" if pd.isna(sd) else f"{mean:.3f} ± {sd:.3f}"

"""The figure of t*: values in, Figure out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from omgsr.reporting.plot_style import BEST, COLORS, clean, flag


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
    flag(top, t, least, f"  t* = {t}")
    bottom.yaxis.get_major_locator().set_params(integer=True)
    for axes in (top, bottom):
        # An interval of one timestep would be invisible without its edges.
        axes.axvspan(low - 0.5, high + 0.5, color=BEST, alpha=0.2, linewidth=1, label="95 %")
        axes.axvline(t, color=BEST, linewidth=1)
        clean(axes)
    bottom.set_title("each image's own best timestep", loc="left", fontsize="medium")
    return figure

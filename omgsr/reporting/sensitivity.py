"""How t* depends on what it is computed from, out of stored latent moments alone (Eqs. 4, 5, 19).

A setting differs from the profile's own in one thing: degradation preset, data set, latent or
backbone. Its (P, N) of every image and its backbone's signal-to-noise ratios are all that is
needed; the number of images is varied over parts of the same numbers.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from omgsr.core import seeding
from omgsr.method import timestep
from omgsr.method.timestep import Floats
from omgsr.reporting.plot_style import BEST, clean, colors

MOMENTS = ("what", "value", "backbone", "image", "power", "error")
"""Columns of stored moments: what is varied, its value, and P and N of every image."""
OWN = "profile"
"""`what` of the setting that the profile itself has."""
SIZES = (10, 20, 40, 80, 160, 320, 640, 1280, 2560)
DRAWS = 200
"""Random parts of each size."""


def table(
    moments: pd.DataFrame, snr: Mapping[str, Floats], bootstrap: int, seed: int
) -> pd.DataFrame:
    """t* of every setting and of parts of the profile's own images, with 95 % intervals.

    `moments` has MOMENTS, the profile's own first; `snr` has s_t of t = 1..T by backbone. Gives
    what, value, images, t, low, high, below, above, shift: t less that of the profile. Intervals
    are of the bootstrap; for numbers of images, over random parts without replacement.
    """
    rows = []
    for (what, value, backbone), own in moments.groupby(list(MOMENTS[:3]), sort=False):
        power, error = own["power"].to_numpy(float), own["error"].to_numpy(float)
        found = timestep.find(power, error, snr[backbone], bootstrap, seed)
        rows.append({"what": what, "value": value, **found.as_dict()})
        if what == OWN:
            rows += list(sizes(power, error, snr[backbone], seed))
    made = pd.DataFrame(rows).drop(columns="gap")
    made["shift"] = made["t"] - made.loc[made["what"] == OWN, "t"].iloc[0]
    order = {OWN: -1} | {what: place for place, what in enumerate(dict.fromkeys(made["what"]))}
    return made.sort_values("what", key=lambda c: c.map(order), kind="stable", ignore_index=True)


def sizes(power: Floats, error: Floats, snr: Floats, seed: int) -> Iterator[dict[str, object]]:
    """t* of random parts of the images: the median, and what 95 % of the parts lie between."""
    for size in SIZES:
        if size >= len(power):
            return
        rng = seeding.rng(seed, "sensitivity", size)
        parts = [rng.choice(len(power), size, replace=False) for _ in range(DRAWS)]
        found = [timestep.best(power[part], error[part], snr) for part in parts]
        low, t, high = np.quantile(found, [0.025, 0.5, 0.975], method="nearest")
        yield {"what": "images", "value": str(size), "t": int(t), "images": size,
               "low": int(low), "high": int(high)}  # fmt: skip


def markdown(found: pd.DataFrame) -> str:
    """The table in Markdown."""
    lines = ["| what | value | images | t* | 95 % interval | shift |"]
    lines.append("|---|---|---:|---:|---|---:|")
    form = "| {what} | {value} | {images} | {t} | {low} to {high} | {shift:+d} |"
    return "\n".join([*lines, *(form.format(**row) for row in found.to_dict("records"))])


def figure(found: pd.DataFrame) -> Figure:
    """A line a setting: t* and its interval, the profile's own t* behind all of them."""
    made = Figure(figsize=(8, 0.9 + 0.32 * len(found)), dpi=130, layout="constrained")
    axes = made.subplots()
    kinds = list(dict.fromkeys(found["what"]))
    color = dict(zip(kinds, colors(len(kinds)), strict=True))
    for place, row in enumerate(found.itertuples(index=False)):
        own = color[row.what]
        axes.plot([row.low, row.high], [place, place], color=own, linewidth=3, alpha=0.5)
        axes.plot([row.t], [place], "o", color=own)
    profile = found[found["what"] == OWN].iloc[0]
    axes.axvline(profile["t"], color=BEST, linewidth=1, zorder=0)
    axes.set_yticks(range(len(found)), [f"{r.what}: {r.value}" for r in found.itertuples()])
    axes.set(xlabel="mid-timestep t* and its 95 % interval", ylim=(len(found) - 0.5, -0.5))
    clean(axes)
    return made

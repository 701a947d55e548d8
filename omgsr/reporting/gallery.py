"""Pictures of a benchmark by every method, for sheets and pages."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from omgsr.core import images
from omgsr.data import manifest
from omgsr.data.manifest import Row
from omgsr.reporting import sheets


def chosen(
    benchmark: str, runs: Sequence[str], scale: int, count: int
) -> Iterator[tuple[Row, dict[str, sheets.Pixels]]]:
    """`count` images of a benchmark, spread evenly over it, each by all methods."""
    for row in manifest.spread(manifest.read(f"data/pairs/{benchmark}.csv"), count):
        yield row, versions(row, benchmark, runs, scale)


def versions(row: Row, benchmark: str, runs: Sequence[str], scale: int) -> dict[str, sheets.Pixels]:
    """LQ, bicubic, every run and HQ of one picture, all of one size."""
    lq = manifest.load_lq(row)
    found = {"LQ (nearest)": sheets.nearest(lq, scale), "bicubic": images.upscale(lq, scale)}
    for run in runs:
        found[run] = images.read_rgb(Path("runs", run, "sr", benchmark, f"{row.name}.png"))
    return found | ({"HQ": manifest.load_hq(row)} if row.hq else {})


def caption(scores: pd.DataFrame, benchmark: str, run: str, image: str) -> str:
    """The first three scores of one picture."""
    keys = {"benchmark": benchmark, "run": run, "image": image}
    own = scores[(scores[list(keys)] == list(keys.values())).all(axis=1)]
    first = own[["metric", "value"]].head(3).itertuples(index=False)
    return "  ".join(f"{metric} {value:.4g}" for metric, value in first)

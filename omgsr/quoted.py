"""The paper's printed numbers, to stand beside ours: quoted, never computed here.

assets/paper/scores.csv has a row for each number of Tables 1 to 5: table, run, benchmark, metric,
value, note. A note tells a known misprint. "RealLR250" and "RealLQ200" of the paper are RealLQ250
and RealLR200. Methods of Table 3 were run by the paper's authors: compare within one table only.
"""

from __future__ import annotations

import io
from importlib.resources import files

import pandas as pd

BENCHMARKS = ("realsr", "drealsr", "reallq250", "reallr200")
METHODS = {
    "realesrgan": "RealESRGAN",
    "stablesr-200": "StableSR-s200",
    "seesr-50": "SeeSR-s50",
    "diffbir-50": "DiffBIR-s50",
    "resshift-15": "ResShift-s15",
    "sinsr-1": "SinSR-s1",
    "osediff-1": "OSEDiff-s1",
    "invsr-1": "InvSR-s1",
    "pisasr-1": "PiSA-SR-s1",
    "omgsr-s": "OMGSR-S-s1",
}
"""Methods of Table 3 as the paper names them; -s is the number of diffusion steps."""


def figure_4() -> pd.DataFrame:
    """The paper's average composite score over the timestep: t, composite."""
    own = table(5).query("metric == 'composite' and benchmark == 'average'")
    t = own["run"].str.removeprefix("no_lrr-").astype(int)
    return pd.DataFrame({"t": t, "composite": own["value"]}).sort_values("t", ignore_index=True)


def table(number: int) -> pd.DataFrame:
    """Long scores of one of Tables 1 to 5: run, benchmark, metric, value, note.

    Runs of Table 5 are no_lrr-<t>; its printed composite scores are the metric `composite`.
    """
    if number not in range(1, 6):
        raise ValueError(f"the paper has scores in Tables 1 to 5, got {number}")
    text = (files("omgsr") / "assets" / "paper" / "scores.csv").read_text(encoding="utf-8")
    frame = pd.read_csv(io.StringIO(text), keep_default_na=False)
    own = frame[frame["table"] == number].drop(columns="table")
    return own.reset_index(drop=True)

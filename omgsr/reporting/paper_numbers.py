"""The paper's printed numbers, to stand beside ours: quoted, never computed here.

assets/paper/scores.csv has a row for each number of Tables 1 to 5: table, run, benchmark, metric,
value, note. A note tells a known misprint. "RealLR250" and "RealLQ200" of the paper are RealLQ250
and RealLR200. Methods of Table 3 were run by the paper's authors: compare within one table only.
"""

import json
from importlib.resources import files

import pandas as pd

_ASSETS = files("omgsr") / "assets" / "paper"
_KNOWN = json.loads((_ASSETS / "names.json").read_text(encoding="utf-8"))
IMAGES: dict[str, int] = _KNOWN["images"]
"""The paper's benchmarks by the names that ours must have to stand beside them => their images."""
BENCHMARKS = tuple(IMAGES)
METHODS: dict[str, str] = _KNOWN["methods"]
"""Methods of Table 3 as the paper names them; -s is the number of diffusion steps."""
NAMES = "The paper also prints RealLR250 for RealLQ250 and RealLQ200 for RealLR200."
ABSENT = {5: "Table 5, reallr200, t = 1: the value of clipiqa is missing in our text of the paper."}
"""Values that a table should have and has not."""


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
    with (_ASSETS / "scores.csv").open(encoding="utf-8") as text:
        frame = pd.read_csv(text, keep_default_na=False)
    return frame[frame["table"] == number].drop(columns="table").reset_index(drop=True)


def notes(number: int, benchmarks: tuple[str, ...] = BENCHMARKS) -> list[str]:
    """What is known to be wrong or missing in a table, as far as these benchmarks go."""
    odd = table(number).query("note != '' and benchmark in @benchmarks")
    found = [
        f"Table {number}, {METHODS.get(one.run, one.run)}, {one.benchmark}, {one.metric} "
        f"{one.value}: {one.note}."
        for one in odd.itertuples(index=False)
    ]
    absent = [ABSENT[number]] if number in ABSENT and "reallr200" in benchmarks else []
    names = [NAMES] if {"reallq250", "reallr200"} & set(benchmarks) else []
    return [*found, *absent, *names]

"""The paper's tables with our runs beside its printed values."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from omgsr.evaluation import metrics
from omgsr.reporting import paper_numbers, paper_tables, table_formats, tables
from omgsr.reporting.compared import Compared, Run
from omgsr.reporting.tables import DASH, Table
from tests.reporting.test_tables import compiled

OURS = [metrics.traits(name) for name in ("psnr", "fid", "niqe", "musiq")]
STEPS = (999, 973, 873, 773, 673, 573, 473, 373, 273, 173, 73, 1)
SETS = {"realsr": True, "mine": True, "reallr200": False}
SIZES = {"realsr": 100, "mine": 3, "reallr200": 200}


def swept(variants: tuple[str, ...], steps: tuple[int, ...]) -> list[Run]:
    return [Run(name=f"{v}-{t}", variant=v, t=t) for v in variants for t in steps]


def scored(names: list[str]) -> pd.DataFrame:
    """Scores of the means alone, all of them different."""
    rng = np.random.default_rng(0)
    rows = [
        (run, benchmark, "", one.name, float(rng.uniform(1, 9)))
        for run in names
        for benchmark, paired in SETS.items()
        for one in OURS
        if paired or not tables.needs_hq(one)
    ]
    return pd.DataFrame(rows, columns=["run", "benchmark", "image", "metric", "value"])


def made(runs: list[Run], methods: tuple[str, ...] = ("bicubic",)) -> dict[int, Table]:
    told = compared(runs, methods, combined=tuple(one.name for one in OURS))
    return paper_tables.tables(scored([*told.names]), told)


def compared(runs: list[Run], methods: tuple[str, ...] = (), **changes: Any) -> Compared:
    given = {"benchmarks": SETS, "sizes": SIZES, "traits": tuple(OURS)} | changes
    return Compared(runs=tuple(runs), methods=methods, **given)


@pytest.fixture(scope="module")
def every() -> dict[int, Table]:
    """All five: every variant and timestep of the paper's tables."""
    runs = swept(("no_lrr",), STEPS) + swept(("full", "to_hq", "lpips"), (273,))
    return made(runs + swept(("osediff",), (999, 273)))


def rows_of(table: Table) -> list[dict[str, str]]:
    """The rows of the Markdown, as a reader sees them; the benchmark filled in."""
    lines = [line for line in table_formats.markdown(table).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found, benchmark = [], ""
    for row in cells[2:]:
        benchmark = row[0] or benchmark
        found.append(dict(zip(cells[0], [benchmark, *row[1:]], strict=True)))
    return found


def test_table_3_has_the_papers_ten_methods_beside_ours_and_ranks_them_apart() -> None:
    shown = made(swept(("full", "to_hq"), (273,)))[3]
    assert shown.runs[0] == "bicubic"
    assert shown.runs[-10:] == tuple(f"{name} (paper)" for name in paper_numbers.METHODS.values())
    rows = {(row["Benchmark"], row["Metric"]): row for row in rows_of(shown)}
    musiq = rows["realsr", "musiq ↑"]
    assert musiq["PiSA-SR-s1 (paper)"] == "**70.1492**"
    assert musiq["OMGSR-S-s1 (paper)"] == "<ins>69.9406</ins>"
    assert musiq["RealESRGAN (paper)"] == "60.3657"
    assert rows["realsr", "fid ↓"]["OSEDiff-s1 (paper)"] == "**123.50**"
    ours = [musiq[name] for name in shown.runs[:-10]]
    assert sum(text.startswith("**") for text in ours) == 1
    # What only one side has is there, with dashes on the other; no block of another benchmark.
    assert rows["realsr", "psnr ↑"]["OSEDiff-s1 (paper)"] == DASH
    assert rows["realsr", "lpips ↓"]["bicubic"] == DASH
    assert {benchmark for benchmark, _ in rows} == {"realsr", "reallr200"}
    assert ("reallr200", "fid ↓") not in rows


def test_every_printed_value_of_table_3_is_quoted_as_printed() -> None:
    sets, sizes = dict.fromkeys(paper_numbers.IMAGES, True), dict(paper_numbers.IMAGES)
    names = [*dict.fromkeys(paper_numbers.table(3)["metric"])]
    traits = tuple(metrics.traits(name) for name in names)
    told = compared([], benchmarks=sets, sizes=sizes, traits=traits)
    found = paper_tables.tables(scored([]), told)[3]
    text = list(csv.reader(io.StringIO(table_formats.plain_csv(found))))
    value = {
        (row[0], row[1], head): float(cell)
        for row in text[1:]
        for head, cell in zip(text[0][3:], row[3:], strict=True)
        if cell
    }
    printed = {
        (one.benchmark, one.metric, paper_numbers.METHODS[one.run] + " (paper)"): one.value
        for one in paper_numbers.table(3).itertuples()
    }
    assert value == printed
    assert len(printed) == 320
    assert any("misprint" in note and "0.6354" in note for note in found.notes)
    assert paper_numbers.NAMES in found.notes


def test_a_set_of_another_size_or_name_has_nothing_quoted_beside_it() -> None:
    runs = swept(("full",), (273,))
    scores = scored([run.name for run in runs])
    sizes = SIZES | {"realsr": 20, "reallr200": 47}
    assert paper_tables.tables(scores, compared(runs, sizes=sizes)) == {}


def test_a_method_that_has_none_of_the_papers_benchmarks_is_not_in_table_3() -> None:
    runs = swept(("full",), (273,))
    scores = scored(["bicubic", "theirs", *(run.name for run in runs)])
    scores = scores[(scores["run"] != "theirs") | (scores["benchmark"] == "mine")]
    found = paper_tables.tables(scores, compared(runs, ("bicubic", "theirs")))[3]
    assert found.runs[:-10] == ("bicubic", "full-273")


def test_table_2_has_a_row_a_run_and_the_papers_rows_in_blocks_of_their_own(
    every: dict[int, Table],
) -> None:
    rows = rows_of(every[2])
    blocks = list(dict.fromkeys(row["Benchmark"] for row in rows))
    assert blocks[:4] == ["realsr", "realsr (paper)", "mine", "reallr200"]
    assert set(blocks[5:]) == {"drealsr (paper)", "reallq250 (paper)"}
    own = [row["Run"] for row in rows if row["Benchmark"] == "realsr"]
    assert own == [*(f"no_lrr-{t}" for t in STEPS), "to_hq-273", "full-273"]
    paper = {row["Run"]: row for row in rows if row["Benchmark"] == "realsr (paper)"}
    assert list(paper) == ["no_lrr (paper)", "to_hq (paper)", "full (paper)"]
    assert paper["full (paper)"]["niqe ↓"] == "**5.1893**"
    assert paper["no_lrr (paper)"]["musiq ↑"] == "68.5648"
    assert paper["full (paper)"]["psnr ↑"] == DASH
    assert "ours: no_lrr, to_hq, full" in every[2].title


def test_tables_1_and_4_take_their_variants(every: dict[int, Table]) -> None:
    assert [run for run in every[1].runs if "paper" not in run] == ["osediff-999", "osediff-273"]
    assert every[1].runs[2:] == ("osediff-999 (paper)", "osediff-273 (paper)")
    assert every[4].runs[:2] == ("lpips-273", "full-273")
    swapped = made(swept(("full", "ssim", "stlpips"), (273,)) + swept(("osediff_stlpips",), (1, 9)))
    assert swapped[1].runs[:2] == ("osediff_stlpips-9", "osediff_stlpips-1")
    assert swapped[4].runs[:3] == ("stlpips-273", "ssim-273", "full-273")


def test_table_5_has_our_composites_over_its_own_runs_and_the_papers_below(
    every: dict[int, Table],
) -> None:
    assert every[5].runs == tuple(map(str, STEPS))
    rows = {(row["Benchmark"], row["Metric"]): row for row in rows_of(every[5])}
    printed = rows["average (paper)", "composite ↑"]
    assert (printed["273"], printed["999"]) == ("**0.9774**", "0.0000")
    assert rows["realsr (paper)", "composite ↑"]["273"] == "**0.9793**"
    assert rows["reallr200 (paper)", "clipiqa ↑"]["1"] == DASH
    assert any("clipiqa is missing" in note for note in every[5].notes)
    alone = made(swept(("no_lrr",), STEPS))[5]
    theirs = {(row["Benchmark"], row["Metric"]): row for row in rows_of(alone)}
    # Other variants of the sweep move nothing: their values differ, as all scores here do.
    assert alone.runs == every[5].runs
    assert all(0 <= float(theirs["average", "composite ↑"][str(t)].strip("*<ins/>")) <= 1
               for t in STEPS)  # fmt: skip


def test_runs_of_one_timestep_keep_their_names() -> None:
    runs = [Run(name=f"full-{t}-{seed}", variant="full", t=t) for t in (999, 1) for seed in (0, 1)]
    shown = made(runs)[5]
    assert shown.runs[:4] == ("full-999-0", "full-999-1", "full-1-0", "full-1-1")
    assert shown.runs[4:] == tuple(map(str, STEPS))
    assert "ours: full" in shown.title


def test_without_anything_to_compare_there_is_no_table() -> None:
    assert list(made(swept(("full",), (273,)))) == [3]
    assert list(made(swept(("full", "to_hq"), (273,)))) == [2, 3]
    assert list(made(swept(("full",), (999, 273)))) == [3, 5]


def test_all_five_compile(every: dict[int, Table], tmp_path: Path) -> None:
    assert list(every) == [1, 2, 3, 4, 5]
    assert (every[3].down, made(swept(("full",), (1,)))[3].down) == ("runs", "metrics")
    few = made(swept(("full", "to_hq", "lpips"), (999, 273)))
    log = compiled(tmp_path, *map(table_formats.latex, [*every.values(), *few.values()]))
    assert "Overfull" not in log
    assert "Float too large" not in log

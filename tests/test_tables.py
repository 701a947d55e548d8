"""Tables in three formats."""

import csv
import io
import shutil
from subprocess import run

import pandas as pd
import pytest

from omgsr import metrics, tables
from omgsr.tables import COMPOSITE, DASH, Line, Table

PSNR, NIQE, LPIPS = (metrics.traits(name) for name in ("psnr", "niqe", "lpips"))


def line(*values, traits=PSNR, benchmark="x"):
    return Line(benchmark=benchmark, traits=traits, values=values)


def frames():
    columns = ["run", "benchmark", "image", "metric", "value"]
    rows = [
        ("bicubic", "pairs", "", "psnr", 25.5),
        ("bicubic", "pairs", "", "niqe", 9.0),
        ("bicubic", "lq_only", "", "niqe", 9.5),
        ("full-auto-0", "pairs", "cat", "psnr", 99.0),
        ("full-auto-0", "pairs", "", "psnr", 26.0),
        ("full-auto-0", "pairs", "", "niqe", 5.0),
        ("full-auto-0", "lq_only", "", "niqe", 5.5),
    ]
    composites = pd.DataFrame(
        [("full-auto-0", "pairs", None), ("full-auto-0", "average", None)],
        columns=["run", "benchmark", "composite"],
        dtype=object,
    )
    return pd.DataFrame(rows, columns=columns), composites


def table(**changes):
    scores, composites = frames()
    given = {
        "scores": scores,
        "composites": composites,
        "runs": ("bicubic", "full-auto-0"),
        "benchmarks": {"pairs": True, "lq_only": False},
        "metrics": (PSNR, NIQE),
        "notes": ("A note & more.",),
    }
    return tables.score_table(**(given | changes))


def test_the_best_and_the_second_are_marked_in_the_direction_of_the_metric():
    assert line(20.0, 30.0, 25.0).marks == ("", "best", "second")
    assert line(4.0, 6.0, 5.0, traits=NIQE).marks == ("best", "", "second")


def test_values_that_look_equal_are_marked_alike():
    assert line(0.70001, 0.70004, 0.6, 0.5).marks == ("best", "best", "second", "")


def test_nothing_is_marked_where_there_is_nothing_to_compare():
    assert line(20.0).marks == ("",)
    assert line(20.0, None).marks == ("", "")
    assert line(20.0, 20.0).marks == ("", "")


def test_values_are_printed_at_one_precision_a_line():
    assert line(9.5, 10.25, None).texts == ("9.50", "10.25", DASH)
    assert line(0.5, 0.25).texts == ("0.5000", "0.2500")


def test_lines_are_the_metrics_that_apply():
    got = [(x.benchmark, x.traits.name, x.values) for x in table().lines]
    assert got == [
        ("pairs", "psnr", (25.5, 26.0)),
        ("pairs", "niqe", (9.0, 5.0)),
        ("lq_only", "niqe", (9.5, 5.5)),
    ]


def test_a_metric_without_scores_is_a_line_of_dashes():
    shown = table(metrics=(LPIPS, NIQE))
    assert shown.lines[0].texts == (DASH, DASH)
    assert f"| lpips ↓ | {DASH}" in " ".join(tables.markdown(shown).split())


def test_composites_have_lines_where_a_run_has_one():
    composites = pd.DataFrame(
        [("a", "pairs", 0.25), ("a", "average", 0.5), ("b", "pairs", 0.75), ("b", "average", None)],
        columns=["run", "benchmark", "composite"],
    )
    own = [x for x in table(composites=composites, runs=("a", "b")).lines if x.traits is COMPOSITE]
    assert [(x.benchmark, x.values[0]) for x in own] == [("pairs", 0.25), ("average", 0.5)]
    assert own[1].texts == ("0.5000", DASH)


def test_markdown_reads_back_as_the_table():
    text = tables.markdown(table())
    rows = [[c.strip() for c in r.strip("|").split("|")] for r in text.splitlines() if "|" in r]
    assert rows[0] == ["Benchmark", "Metric", "bicubic", "full-auto-0"]
    assert rows[2:] == [
        ["pairs", "psnr ↑", "<ins>25.50</ins>", "**26.00**"],
        ["", "niqe ↓", "<ins>9.0000</ins>", "**5.0000**"],
        ["lq_only", "niqe ↓", "<ins>9.5000</ins>", "**5.5000**"],
    ]
    assert len({len(line) for line in text.splitlines() if "|" in line}) == 1
    assert text.endswith("\n\nA note & more.\n")


def test_a_name_with_a_bar_does_not_break_markdown():
    shown = Table(runs=("a|b",), lines=(line(1.0),))
    assert r"a\|b" in tables.markdown(shown)


def test_csv_holds_the_unrounded_values():
    shown = Table(runs=("a", "b"), lines=(line(25.123456, None), line(1 / 3, 2.0, traits=NIQE)))
    rows = list(csv.reader(io.StringIO(tables.plain_csv(shown))))
    assert rows == [
        ["benchmark", "metric", "better", "a", "b"],
        ["x", "psnr", "higher", "25.123456", ""],
        ["x", "niqe", "lower", "0.333333", "2.0"],
    ]


def test_latex_is_escaped_and_ruled():
    text = tables.latex(table())
    assert r"lq\_only & niqe $\downarrow$ & \underline{9.5000} & \textbf{5.5000} \\" in text
    assert text.count(r"\midrule") == 2
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    assert r"\caption{A note \& more.}" in text
    assert text.count("{") == text.count("}")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles(tmp_path):
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}%s\end{document}"
    (tmp_path / "t.tex").write_text(document % tables.latex(table()))
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    assert run(command, cwd=tmp_path, capture_output=True).returncode == 0

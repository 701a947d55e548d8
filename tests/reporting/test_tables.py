"""Tables in three formats."""

import csv
import io
import re
import shutil
from dataclasses import replace
from subprocess import run

import pandas as pd
import pytest

from omgsr.evaluation import metrics
from omgsr.reporting import table_formats, tables
from omgsr.reporting.compared import Compared
from omgsr.reporting.tables import COMPOSITE, DASH, Line, Table

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


def table(runs=("bicubic", "full-auto-0"), metrics=(PSNR, NIQE), composites=None):
    scores, none = frames()
    told = Compared(methods=runs, benchmarks={"pairs": True, "lq_only": False}, traits=metrics)
    composites = none if composites is None else composites
    return tables.score_table(scores, composites, told, ("A note & more.",))


def test_the_best_and_the_second_are_marked_in_the_direction_of_the_metric():
    assert line(20.0, 30.0, 25.0).marks == ("", "best", "second")
    assert line(4.0, 6.0, 5.0, traits=NIQE).marks == ("best", "", "second")


def test_values_that_look_equal_are_marked_alike():
    assert line(0.70001, 0.70004, 0.6, 0.5).marks == ("best", "best", "second", "")


def test_nothing_is_marked_where_there_is_nothing_to_compare():
    assert line(20.0).marks == ("",)
    assert line(20.0, None).marks == ("", "")
    assert line(20.0, 20.0).marks == ("", "")


def test_a_metric_is_printed_to_the_decimals_of_the_paper():
    assert line(9.5, 10.25, None).texts == ("9.50", "10.25", DASH)
    assert line(10.5, 0.25, traits=NIQE).texts == ("10.5000", "0.2500")


def test_quoted_values_are_ranked_apart():
    shown = Line(benchmark="x", traits=NIQE, values=(4.0, 5.0, 3.0, 3.5, None), quoted=3)
    assert shown.marks == ("best", "second", "best", "second", "")
    alone = Line(benchmark="x", traits=NIQE, values=(4.0, 3.0, 3.5), quoted=2)
    assert alone.marks == ("", "best", "second")


def test_a_metric_that_needs_hq_has_no_line_without():
    shown = table(metrics=(metrics.traits("fid"), NIQE))
    assert [(x.benchmark, x.traits.name) for x in shown.lines] == [
        ("pairs", "fid"), ("pairs", "niqe"), ("lq_only", "niqe"),
    ]  # fmt: skip


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
    assert f"| lpips ↓ | {DASH}" in " ".join(table_formats.markdown(shown).split())


def test_composites_have_lines_where_a_run_has_one():
    composites = pd.DataFrame(
        [("a", "pairs", 0.25), ("a", "average", 0.5), ("b", "pairs", 0.75), ("b", "average", None)],
        columns=["run", "benchmark", "composite"],
    )
    own = [x for x in table(composites=composites, runs=("a", "b")).lines if x.traits is COMPOSITE]
    assert [(x.benchmark, x.values[0]) for x in own] == [("pairs", 0.25), ("average", 0.5)]
    assert own[1].texts == ("0.5000", DASH)


def test_markdown_reads_back_as_the_table():
    text = table_formats.markdown(table())
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
    assert r"a\|b" in table_formats.markdown(shown)


def test_csv_holds_the_unrounded_values():
    shown = Table(runs=("a", "b"), lines=(line(25.123456, None), line(1 / 3, 2.0, traits=NIQE)))
    rows = list(csv.reader(io.StringIO(table_formats.plain_csv(shown))))
    assert rows == [
        ["benchmark", "metric", "better", "a", "b"],
        ["x", "psnr", "higher", "25.123456", ""],
        ["x", "niqe", "lower", "0.333333", "2.0"],
    ]


def test_latex_is_escaped_and_ruled():
    text = table_formats.latex(table())
    assert r"lq\_only & niqe $\downarrow$ & \underline{9.5000} & \textbf{5.5000} \\" in text
    assert text.count(r"\midrule") == 2
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    assert r"\caption{A note \& more.}" in text
    assert text.count("{") == text.count("}")


def test_runs_down_leaves_out_what_has_no_value():
    lines = (line(1.0, None, benchmark="a"), line(None, None, benchmark="b"))
    head, blocks = tables.grid(Table(runs=("p", "q"), lines=lines, down="runs"))
    assert head == ("Benchmark", "Run", "psnr ↑")
    assert [[[cell.text for cell in row] for row in rows] for rows in blocks] == [
        [["a", "p", "1.00"]]
    ]
    shown = Table(runs=("p", "q"), lines=lines, down="runs")
    assert table_formats.plain_csv(shown) == "benchmark,run,psnr\na,p,1.0\n"


HARD = "a_b%c&d#e$f{g}h~i^j\\k<l>m|n é ł 日本 ↓ – \x07"


def hard(runs=14, benchmarks=12):
    """A table of every character that LaTeX reads as a command, too long and wide for a page."""
    lines = [
        Line(benchmark=f"{HARD} {index}", traits=traits, values=tuple(map(float, range(runs))))
        for index in range(benchmarks)
        for traits in (PSNR, NIQE, LPIPS, *map(metrics.traits, ("maniqa-pipal", "clipiqa+")))
    ]
    names = tuple(f"{HARD} {index}" if index < 2 else f"run_{index}" for index in range(runs))
    return Table(runs=names, lines=tuple(lines), title=HARD, notes=(HARD, "A note."))


@pytest.mark.parametrize("down", ["metrics", "runs"])
def test_latex_is_balanced_and_escaped(down):
    text = table_formats.latex(replace(hard(), down=down))
    assert text.isascii()
    assert "\x07" not in text
    opened = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    stack = []
    for word, name in opened:
        if word == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert stack == []
    plain = re.sub(r"\\[a-zA-Z]+|\\\\|\\.", "", text)  # commands and escaped characters
    assert plain.count("{") == plain.count("}")
    assert not set("%#~^_") & set(plain)
    body = [row for row in text.splitlines() if row.endswith(r" \\")]
    assert {len(re.findall(r"(?<!\\)&", row)) for row in body} == {plain_columns(down)}


def plain_columns(down):
    """Separators of a row: 14 runs or 5 metrics, beside the two names."""
    return 15 if down == "metrics" else 6


def test_a_long_latex_table_is_continued_at_a_benchmark():
    text = table_formats.latex(hard(runs=2))
    assert text.count(r"\begin{table}") == text.count(r"\caption{") == 2
    assert text.count("(continued)") == 1
    assert text.count("A note.") == 1
    assert [part.count("psnr") for part in text.split(r"\end{table}")] == [9, 3, 0]


def compiled(folder, *texts):
    """Sets LaTeX tables with booktabs and returns the log; a skip where there is no pdflatex."""
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    document = (
        r"\documentclass{article}\usepackage[margin=15mm,landscape]{geometry}\usepackage{booktabs}"
        r"\begin{document}%s\end{document}"
    )
    (folder / "t.tex").write_text(document % "\n".join(texts))
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "t.tex"]
    done = run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout


def test_latex_compiles(tmp_path):
    shown = [table(), hard(), replace(hard(), down="runs"), Table(runs=("a",), lines=())]
    log = compiled(tmp_path, *map(table_formats.latex, shown))
    assert "Undefined control sequence" not in log
    assert "undefined on input line" not in log


def test_the_reports_tables_compile_and_fit_a_page(tmp_path, checkout):
    found = sorted((checkout / "reports/tables").glob("*.tex"))
    assert found
    log = compiled(tmp_path, *(path.read_text() for path in found))
    assert "Overfull" not in log
    assert "Float too large" not in log

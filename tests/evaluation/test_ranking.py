"""`omgsr composite` and how firm a ranking is, on the paper's Table 5."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from omgsr.cli import main
from omgsr.evaluation import composite, metrics
from omgsr.reporting import paper_numbers


@pytest.fixture(scope="module")
def paper() -> pd.DataFrame:
    table = paper_numbers.table(5).drop(columns="note")
    table["run"] = table["run"].str.removeprefix("no_lrr-")
    return table[table["metric"] != "composite"]


def directions(scores: pd.DataFrame) -> dict[str, bool]:
    return {name: metrics.traits(name).lower_better for name in scores["metric"].unique()}


def test_273_stays_the_best_of_table5_whatever_is_left_out(paper: pd.DataFrame) -> None:
    ranked = composite.leave_one_out(paper, directions(paper))
    cases = ranked.drop_duplicates(["left_out", "name"])
    assert len(cases) == 1 + 9 + 4
    best, same, count = composite.firmness(ranked)
    assert best == ["273"]
    assert (same, count) == (13, 13)


def test_one_case_by_hand() -> None:
    rows = [
        ("a", "x", "psnr", 20.0), ("b", "x", "psnr", 30.0),
        ("a", "x", "niqe", 4.0), ("b", "x", "niqe", 6.0), ("c", "x", "psnr", 25.0),
        ("c", "x", "niqe", 4.2),
    ]  # fmt: skip
    scores = pd.DataFrame(rows, columns=["run", "benchmark", "metric", "value"])
    ranked = composite.leave_one_out(scores, {"psnr": False, "niqe": True})
    found = ranked.set_index(["left_out", "name", "run"])["composite"]
    assert found["", "", "c"] == pytest.approx((0.5 + 0.9) / 2)
    assert found["metric", "psnr", "c"] == pytest.approx(0.9)
    assert found["metric", "niqe", "c"] == pytest.approx(0.5)
    assert set(ranked["left_out"]) == {"", "metric"}  # one benchmark cannot be left out
    assert composite.firmness(ranked) == (["c"], 0, 2)


def test_means_of_image_rows_are_added_where_they_lack() -> None:
    rows = [
        ("a", "x", "p", "psnr", 20.0), ("a", "x", "q", "psnr", 30.0), ("a", "x", "", "psnr", 25.5),
        ("b", "x", "p", "psnr", 10.0), ("b", "x", "q", "psnr", 14.0), ("b", "x", "", "fid", 9.0),
    ]  # fmt: skip
    scores = pd.DataFrame(rows, columns=["run", "benchmark", "image", "metric", "value"])
    found = composite.with_means(scores).set_index(["run", "metric"])["value"].to_dict()
    assert found == {("a", "psnr"): 25.5, ("b", "fid"): 9.0, ("b", "psnr"): 12.0}


def test_the_command_prints_table5_to_four_decimals(
    paper: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paper.to_csv(tmp_path / "scores.csv", index=False)
    out = tmp_path / "composite.csv"
    words = ["composite", str(tmp_path / "scores.csv"), "--leave-one-out", "-o", str(out)]
    assert main(words) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("| 273"))
    assert [cell.strip() for cell in line.strip("|").split("|")[1:]] == [
        "0.9793", "0.9657", "0.9712", "0.9935", "0.9774",
    ]  # fmt: skip
    line = next(line for line in said.splitlines() if line.startswith("| 1 "))
    assert line.count("–") == 2  # its RealLR200 CLIPIQA is missing in the paper's text
    assert "best: 273; alone at the top in 13 of 13 cases" in said
    assert set(pd.read_csv(out)["run"]) == {int(run) for run in paper["run"]}


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("run,metric,value\n", [], "no column 'benchmark'"),
        ("run,benchmark,metric,value\na,x,psrn,1\nb,x,psrn,2\n", [], "did you mean|--lower or"),
        ("run,benchmark,metric,value\na,x,psnr,high\n", [], "no CSV of scores"),
        ("run,benchmark,metric,value\na,x,m,1\n", ["--lower", "m", "--higher", "m"], "both"),
    ],
)
def test_mistakes_are_one_message(
    text: str,
    words: list[str],
    expected: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "scores.csv").write_text(text)
    assert main(["composite", str(tmp_path / "scores.csv"), *words]) == 1
    said = capsys.readouterr().err
    assert any(part in said for part in expected.split("|")), said
    assert said.startswith("omgsr composite: ")


def test_directions_can_be_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "run,benchmark,metric,value\na,x,mine,1\nb,x,mine,2\n"
    (tmp_path / "scores.csv").write_text(text)
    for word, best in (("--lower", "| a"), ("--higher", "| b")):
        assert main(["composite", str(tmp_path / "scores.csv"), word, "mine"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if "1.0000" in line]
        assert [line.startswith(best) for line in lines] == [True]

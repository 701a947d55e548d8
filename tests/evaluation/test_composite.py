"""Composite scores (Eqs. 20-23), against the paper's Table 5."""

import pandas as pd
import pytest

from omgsr.evaluation import metrics
from omgsr.evaluation.composite import AVERAGE, composite
from omgsr.reporting import paper_numbers

ABSENT = ("reallr200", 1)  # its CLIPIQA is missing in the paper's text


def frame(rows):
    return pd.DataFrame(rows, columns=["run", "benchmark", "metric", "value"])


def values(scores, lower=("niqe",)):
    named = {metric: metric in lower for metric in scores["metric"].unique()}
    return composite(scores, named).set_index(["run", "benchmark"])["composite"].to_dict()


def paper():
    table = paper_numbers.table(5)
    table["run"] = table["run"].str.removeprefix("no_lrr-").astype(int)
    printed = table[table["metric"] == "composite"].set_index(["run", "benchmark"])["value"]
    scores = table[table["metric"] != "composite"]
    lower = {name: metrics.traits(name).lower_better for name in scores["metric"].unique()}
    return composite(scores, lower).set_index(["run", "benchmark"])["composite"], printed


def test_table5_gives_its_printed_composites():
    ours, printed = paper()
    compared = [key for key in printed.index if ours[key] is not None]
    assert len(printed) == 60
    assert len(compared) == 47 + 11
    for key in compared:
        assert ours[key] == pytest.approx(printed[key], abs=1.0001e-4), key


def test_the_run_that_lacks_a_value_has_no_composite_and_the_others_keep_theirs():
    ours, _ = paper()
    benchmark, t = ABSENT
    assert [key for key in ours.index if ours[key] is None] == [(t, benchmark), (t, AVERAGE)]


def test_273_wins_table5():
    ours, _ = paper()
    averages = {t: value for (t, name), value in ours.items() if name == AVERAGE and value}
    assert max(averages, key=averages.get) == 273


def test_by_hand():
    rows = [("a", "x", "psnr", 20.0), ("b", "x", "psnr", 30.0), ("c", "x", "psnr", 25.0)]
    rows += [("a", "x", "niqe", 4.0), ("b", "x", "niqe", 6.0), ("c", "x", "niqe", 4.5)]
    got = values(frame(rows))
    assert got[("a", "x")] == pytest.approx(0.5)
    assert got[("b", "x")] == pytest.approx(0.5)
    assert got[("c", "x")] == pytest.approx((0.5 + 0.75) / 2)
    assert got[("c", AVERAGE)] == got[("c", "x")]


def test_direction_decides_who_wins():
    scores = frame([("a", "x", "m", 1.0), ("b", "x", "m", 2.0)])
    assert values(scores, lower=())[("b", "x")] == 1
    assert values(scores, lower=("m",))[("a", "x")] == 1


def test_one_run_has_no_composite():
    assert values(frame([("a", "x", "psnr", 20.0)])) == {("a", "x"): None, ("a", AVERAGE): None}


def test_a_metric_without_a_scale_is_left_out():
    rows = [(run, "x", "ssim", 0.7) for run in "ab"]
    rows += [("a", "x", "psnr", 20.0), ("b", "x", "psnr", 21.0)]
    assert values(frame(rows))[("b", "x")] == 1


def test_a_benchmark_where_nothing_differs_is_null_and_not_in_the_average():
    rows = [(run, "x", "ssim", 0.7) for run in "ab"]
    rows += [("a", "y", "ssim", 0.6), ("b", "y", "ssim", 0.8)]
    got = values(frame(rows))
    assert got[("a", "x")] is None
    assert got[("b", "x")] is None
    assert (got[("a", AVERAGE)], got[("b", AVERAGE)]) == (0, 1)


def test_means_are_taken_where_image_rows_are_there():
    rows = frame([("a", "x", "psnr", 99.0), ("a", "x", "psnr", 20.0), ("b", "x", "psnr", 21.0)])
    rows["image"] = ["cat", "", ""]
    assert values(rows)[("b", "x")] == 1


def test_bad_scores_are_refused():
    twice = frame([("a", "x", "psnr", 1.0), ("a", "x", "psnr", 2.0)])
    with pytest.raises(ValueError, match="two scores for"):
        values(twice)
    with pytest.raises(ValueError, match="not finite"):
        values(frame([("a", "x", "psnr", float("inf"))]))
    with pytest.raises(ValueError, match=r"direction unknown for \['psnr'\]"):
        composite(frame([("a", "x", "psnr", 1.0)]), {})


def test_without_any_score_there_is_no_row():
    got = composite(frame([]), {})
    assert list(got.columns) == ["run", "benchmark", "composite"]
    assert got.empty

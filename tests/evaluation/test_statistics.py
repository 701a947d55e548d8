"""Bootstrap intervals, paired differences and wins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from omgsr.evaluation import statistics


def test_the_interval_of_normal_scores_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    found = statistics.interval(values.tolist())
    half = 1.96 * values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)
    assert statistics.interval(values.tolist()) == found


def test_intervals_cover_the_truth_nineteen_times_in_twenty() -> None:
    rng, hits = np.random.default_rng(1), 0
    for _ in range(60):
        found = statistics.interval(rng.exponential(1.0, 60).tolist())
        hits += found.low <= 1.0 <= found.high
    assert 50 <= hits <= 60


def test_crops_of_one_photograph_are_one_draw() -> None:
    """Ten equal crops of each of five photographs know no more than the five photographs."""
    five = [1.0, 2.0, 4.0, 7.0, 11.0]
    crops, names = np.repeat(five, 10).tolist(), [f"p{i // 10}" for i in range(50)]
    alone, grouped = statistics.interval(crops), statistics.interval(crops, groups=names)
    few = statistics.interval(five)
    assert grouped.mean == alone.mean == few.mean
    assert grouped.high - grouped.low == pytest.approx(few.high - few.low, rel=0.1)
    assert alone.high - alone.low < 0.5 * (grouped.high - grouped.low)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_no_interval_of_what_is_not_finite(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite scores"):
        statistics.interval(values)


def test_pairing_finds_a_small_difference_that_the_means_hide() -> None:
    rng = np.random.default_rng(2)
    hard = rng.normal(0, 5, 100)
    first = {f"i{i}": float(h + 0.2) for i, h in enumerate(hard)}
    second = {f"i{i}": float(h + rng.normal(0, 0.2)) for i, h in enumerate(hard)}
    found = statistics.difference(first, second, lower_better=False)
    assert found.low > 0  # the interval leaves zero out
    assert 0.1 < found.mean < 0.3
    one, two = (statistics.interval(list(x.values())) for x in (first, second))
    assert one.low < two.high  # unpaired, the two overlap


def test_wins_follow_the_direction() -> None:
    first, second = {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 2.0, "b": 2.0, "c": 1.0}
    for lower, won, lost in ((True, 1, 1), (False, 1, 1)):
        found = statistics.difference(first, second, lower)
        assert (found.won, found.lost, found.images) == (won, lost, 3)
    third = {"a": 0.0, "b": 0.0, "c": 0.0}
    assert statistics.difference(third, first, lower_better=True).won == 3
    assert statistics.difference(third, first, lower_better=False).lost == 3
    same = statistics.difference(first, first, lower_better=True)
    assert (same.low, same.high) == (0, 0)


def test_methods_with_other_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"only one of the two methods has b, c; score both"):
        statistics.difference({"a": 1.0, "b": 1.0}, {"a": 1.0, "c": 1.0}, lower_better=False)


def frame() -> pd.DataFrame:
    rows = [
        (run, "x", image, "psnr", base + i)
        for run, base in (("bicubic", 20.0), ("ours", 21.0))
        for i, image in enumerate(("a", "b", "c", ""))
    ]
    rows += [("ours", "y", "a", "niqe", 4.0), ("ours", "x", "", "fid", 100.0)]
    return pd.DataFrame(rows, columns=["run", "benchmark", "image", "metric", "value"])


def test_tables_of_all_runs() -> None:
    table = statistics.intervals(frame()).set_index(["run", "benchmark", "metric"])
    assert table.loc[("ours", "x", "psnr"), "mean"] == 22.0
    assert table.loc[("ours", "y", "niqe"), "images"] == 1
    assert ("ours", "x", "fid") not in table.index
    gaps = statistics.differences(frame(), "bicubic", {"psnr": False, "niqe": True})
    assert gaps.to_dict("records") == [
        {"run": "ours", "benchmark": "x", "metric": "psnr", "difference": 1.0, "low": 1.0,
         "high": 1.0, "won": 3, "lost": 0, "images": 3},
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no scores of 'theirs'"):
        statistics.differences(frame(), "theirs", {})


def test_a_metric_of_whole_sets_has_a_difference_and_no_interval_or_wins() -> None:
    rows = [("a", "x", "", "fid", 90.0), ("b", "x", "", "fid", 80.5), ("c", "y", "", "fid", 1.0)]
    rows += [(run, "x", i, "psnr", v) for run, v in (("a", 20.0), ("b", 21.0)) for i in ("p", "")]
    scores = pd.DataFrame(rows, columns=["run", "benchmark", "image", "metric", "value"])
    found = statistics.differences(scores, "a", {"fid": True, "psnr": False})
    assert list(found["metric"]) == ["psnr", "fid"]
    assert list(found["difference"]) == [1.0, -9.5]
    assert list(found["won"].isna()) == [False, True]
    assert found[["low", "high", "lost", "images"]].iloc[1].isna().all()
    assert found.to_csv(index=False).splitlines()[2] == "b,x,fid,-9.5,,,,,"
    assert set(statistics.intervals(scores)["metric"]) == {"psnr"}
    alone = scores[scores["metric"] == "fid"]
    assert len(statistics.differences(alone, "a", {"fid": True})) == 1

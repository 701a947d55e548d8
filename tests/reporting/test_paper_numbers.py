"""The paper's printed numbers agree with each other where the paper prints one twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from omgsr.evaluation import metrics
from omgsr.reporting import paper_numbers


def values(number: int, run: str) -> dict[tuple[str, str], float]:
    table = paper_numbers.table(number)
    own = table[table["run"] == run]
    return own.set_index(["benchmark", "metric"])["value"].to_dict()


def test_every_table_is_whole() -> None:
    counts = {1: 2 * 28, 2: 3 * 28, 3: 10 * 32, 4: 2 * 28}
    for number, count in counts.items():
        table = paper_numbers.table(number)
        assert len(table) == count
        assert set(table["benchmark"]) == set(paper_numbers.BENCHMARKS)
        assert not table.duplicated(["run", "benchmark", "metric"]).any()
    assert set(paper_numbers.table(3)["run"]) == set(paper_numbers.METHODS)
    with pytest.raises(ValueError, match="Tables 1 to 5, got 6"):
        paper_numbers.table(6)


def test_what_is_printed_twice_is_the_same_but_for_the_noted_misprint() -> None:
    ours = values(2, "full")
    assert ours == values(4, "full")
    assert values(2, "no_lrr").items() <= values(5, "no_lrr-273").items()
    third = values(3, "omgsr-s")
    odd = {key for key in ours if ours[key] != third[key]}
    assert odd == {("drealsr", "maniqa-pipal")}
    notes = paper_numbers.table(3).query("note != ''")
    assert list(notes["note"].str.contains("0.6354|missing")) == [True, True]


def test_the_claim_of_23_in_28() -> None:
    """Sec. 4.2.4: Dv3CD is better than LPIPS in 23 of 28."""
    ours, other = values(4, "full"), values(4, "lpips")
    lower = {name: metrics.traits(name).lower_better for _, name in ours}
    better = [(ours[k] < other[k]) == lower[k[1]] for k in ours if ours[k] != other[k]]
    assert sum(better) == 23


@pytest.mark.real
def test_osediffs_column_is_that_of_its_published_scores(real_data: Path) -> None:
    """Per-image scores of OSEDiff's own log; its means are the column of Table 3."""
    log = pd.read_csv(real_data / "osediff_realsr" / "scores.csv").rename(columns=str.lower)
    column = values(3, "osediff-1")
    for metric, name in (("lpips", "lpips"), ("niqe", "niqe"), ("musiq", "musiq")):
        mean = float(log[name].mean())
        assert mean == pytest.approx(column["realsr", metric], abs=1.01e-3)

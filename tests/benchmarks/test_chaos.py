"""The campaign of faults: its moments and comparisons here; one kill of a real pipeline is slow."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.chaos import damage, kills
from benchmarks.chaos.outcome import Outcome, obey, plain, table
from benchmarks.chaos.project import Project, departures, digests
from benchmarks.chaos.running import HUNG, Said

LINE: kills.Timeline = [("data", 1.0), ("train@a", 5.0), ("record", 9.0), ("", 11.0)]
BUSY = [(2.0, 3.0), (6.0, 8.0)]


def test_moments_are_those_of_the_seed_and_of_every_kind() -> None:
    given = kills.moments(0, 30, LINE, BUSY)
    assert given == kills.moments(0, 30, LINE, BUSY) != kills.moments(1, 30, LINE, BUSY)
    assert [one.kind for one in given] == ["group", "tree", "worker"] * 10
    assert {one.stage for one in given} == {"", "data", "train@a", "record"}


def test_a_moment_lies_within_its_stage_and_a_workers_within_the_times_that_have_some() -> None:
    starts, ends = {"": 0.0, **dict(LINE[:-1])}, {"": 1.0, "data": 5.0, "train@a": 9.0}
    for one in kills.moments(3, 200, LINE, BUSY):
        at = starts[one.stage] + one.after
        assert starts[one.stage] <= at <= ends.get(one.stage, 11.0)
        if one.kind == "worker":
            assert any(start <= at <= end for start, end in BUSY)


def test_runs_share_the_moments_and_each_goes_forward() -> None:
    given, starts = kills.moments(0, 25, LINE, BUSY), {"": 0.0, **dict(LINE[:-1])}
    runs = kills.dealt(given, LINE)
    assert [len(run) for run in runs] == [9, 8, 8]
    assert sorted(map(str, given)) == sorted(str(one) for run in runs for one in run)
    for run in runs:
        times = [starts[one.stage] + one.after for one in run]
        assert times == sorted(times)


def test_digests_are_of_results_alone_and_departures_name_every_file(tmp_path: Path) -> None:
    for name in ("data/a.csv", "runs/x/sr/a.png", "work/checkpoint.pt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    first = digests(tmp_path)
    assert set(first) == {"data/a.csv", "runs/x/sr/a.png"}
    (tmp_path / "data/a.csv").write_text("other")
    (tmp_path / "runs/x/sr/a.png").unlink()
    (tmp_path / "runs/x/sr/b.png").write_text("more")
    wanted = ["data/a.csv", "runs/x/sr/a.png", "runs/x/sr/b.png"]
    assert departures(first, digests(tmp_path)) == wanted
    assert departures(first, first) == []


def test_a_flip_is_one_bit_and_keeps_the_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    before = path.stat()
    damage.flip(path, random.Random(0), 10, 20)
    after, data = path.stat(), path.read_bytes()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    assert sum(byte.bit_count() for byte in data) == 1
    assert sum(data[10:20])


SAID = """Running stage 'train@full-auto-0':
train:   5%| | 2/40
train: work/train-0123456789abcdef/checkpoint.pt cannot be read; remove it to train from the start
ERROR: failed to reproduce 'train@full-auto-0': failed to run: sh stages/run.sh
"""


def test_the_line_of_the_stage_is_what_was_said_and_its_advice_is_followed(tmp_path: Path) -> None:
    project, said = Project(tmp_path), Said(255, SAID)
    path = project.folder / "work/train-0123456789abcdef/checkpoint.pt"
    path.parent.mkdir(parents=True)
    path.touch()
    assert plain(project, said.line()).startswith("train: work/train-<hash>/checkpoint.pt cannot")
    assert not said.traceback
    assert obey(project, said).endswith("checkpoint.pt")
    assert not path.exists()
    assert obey(project, Said(1, "ERROR: delete it")) == ""


def test_bars_are_missed_by_silence_a_traceback_other_bytes_or_a_lost_record() -> None:
    good = {"fault": "f", "said": "train: no", "code": 1, "traceback": False, "after": "0",
            "departed": (), "records": True}  # fmt: skip
    bad = [{"said": ""}, {"traceback": True}, {"after": "255, no"}, {"departed": ("a",)},
           {"records": False}, {"after": f"0, {HUNG}"}]  # fmt: skip
    assert Outcome(**good).held
    assert Outcome(**good | {"said": "", "code": 0}).held
    assert [Outcome(**good | one).held for one in bad] == [False] * len(bad)
    assert "| no: a |" in table([Outcome(**good | {"departed": ("a",)})])


@pytest.mark.slow
def test_one_kill_of_a_real_pipeline_gives_the_same_bytes(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.clone()
    said, line, _ = kills.measure(project)
    assert said.code == 0, said.text
    project.wanted, project.recorded = digests(project.folder), project.records()
    moment = kills.Moment("train@full-auto-0", kills.lasted(line, "train@full-auto-0") / 2, "tree")
    done, end = kills.campaign(project, [moment], line)
    assert isinstance(done, list)
    assert done[0].whom == "tree"
    assert isinstance(end, Outcome)
    assert end.held, end

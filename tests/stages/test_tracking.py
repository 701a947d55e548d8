"""The MLflow store: one place, safe first use, and no failure that reaches the training."""

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from stages.tracking import live, recording, store, ui

NOBODY = "http://127.0.0.1:9"
"""An address where nothing listens."""


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it at first use, which takes seconds; without experiments."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}")
    return path


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace, its name with what paths may have, and a working directory outside of it."""
    root, elsewhere = tmp_path / "my #1 work", tmp_path / "copy"
    root.mkdir()
    shutil.copy(empty_store, root)
    elsewhere.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(elsewhere)
    return root


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=store.uri())


def runs(name: str) -> list:
    experiment = client().get_experiment_by_name(name)
    return list(client().search_runs([experiment.experiment_id])) if experiment else []


def result(**changes: object) -> recording.Result:
    values = {
        "key": "k1",
        "report": "r1",
        "name": "full-auto-0",
        "params": {f"p{i}": str(i) for i in range(230)},
        "points": (("mini/psnr", 25.5, 0), ("composite", 0.8, 0)),
        "curves": tuple(("train/l1", 1.0 / step, step) for step in range(1, 2501)),
        "tags": {"profile": "mini"},
        "artifacts": (),
        "start": 1_000,
        "end": 61_000,
    }
    return recording.Result(**(values | changes))


def test_live_curves_reach_the_store_of_the_workspace(workspace: Path) -> None:
    with live.live("full-auto-0", {"lr": 1e-4}, {"omgsr.work": "w"}) as log:
        for step in range(1, 1201):
            log(step, {"l1": 1.0 / step, "lrr": 2.0})
    (run,) = runs(store.LIVE)
    assert run.info.run_id == log.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params == {"lr": "0.0001"}
    history = client().get_metric_history(log.run_id, "l1")
    assert sorted((m.step, m.value) for m in history) == [(s, 1.0 / s) for s in range(1, 1201)]
    assert (workspace / "mlflow.db").exists()
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_a_failed_training_ends_its_live_run(error: type[BaseException], status: str) -> None:
    def training() -> None:
        with live.live("a", {}, {}) as log:
            log(1, {"l1": 0.5})
            raise error

    with pytest.raises(error):
        training()
    (run,) = runs(store.LIVE)
    assert run.info.status == status
    assert run.data.metrics == {"l1": 0.5}


def test_a_resumed_training_continues_the_curves_of_the_killed_one() -> None:
    killed = live.Live("a", {"lr": 1}, {"omgsr.work": "w"})
    other = live.Live("a", {"lr": 2}, {"omgsr.work": "v"})
    assert killed.open()
    assert other.open()
    with live.live("a", {"lr": 1}, {"omgsr.work": "w"}) as log:
        log.open()
        log(2, {"l1": 0.5})
    assert log.run_id == killed.run_id != other.run_id
    with live.live("a", {"lr": 1}, {"omgsr.work": "w"}) as again:
        again.open()
    assert again.run_id != killed.run_id


def test_a_training_of_seconds_does_not_wait_for_mlflow(workspace: Path) -> None:
    start = time.monotonic()
    with live.live("a", {}, {}) as log:
        log(1, {"l1": 1.0})
        log.picture(workspace / "step-000001.png", "preview")
    assert log.run_id is None
    assert time.monotonic() - start < 0.5
    code = "import sys; from stages.tracking import recording; sys.exit('mlflow' in sys.modules)"
    checkout = Path(recording.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=checkout).returncode == 0


def test_training_goes_on_without_a_server(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    start, done = time.monotonic(), 0
    with live.live("a", {}, {}) as log:
        for done in range(1, 2001):
            log(done, {"l1": 1.0})
    assert log.run_id is None
    assert done == 2000
    assert time.monotonic() - start < 10
    assert capsys.readouterr().err.count("Live curves are off") == 1


def test_a_store_that_breaks_during_training_gives_one_warning(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with live.live("a", {}, {}) as log:
        log.open()
        (workspace / "mlflow.db").write_bytes(b"no database" * 1000)
        for step in range(1, 3001):
            log(step, {"l1": 1.0})
    assert capsys.readouterr().err.count("Live curves are off") == 1


def test_a_result_is_recorded_whole_and_once(tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    table.write_text("| psnr |")
    whole = result(artifacts=((table, "tables"),))
    first, new, _ = recording.record([whole])
    again, none, _ = recording.record([whole])
    assert (first, new, none) == (again, 1, 0)
    (run,) = runs(store.RESULTS)
    assert len(run.data.params) == 230
    assert run.data.metrics["mini/psnr"] == 25.5
    assert len(client().get_metric_history(first[0], "train/l1")) == 2500
    assert (run.info.start_time, run.info.end_time) == (1_000, 61_000)
    assert [f.path for f in client().list_artifacts(first[0], "tables")] == ["tables/table.md"]


def test_a_new_report_updates_the_run_even_to_a_smaller_value() -> None:
    recording.record([result()])
    newer = result(
        report="r2", points=(("mini/psnr", 25.5, 0), ("composite", 0.1, 0)), tags={"x": "y"}
    )
    (run_id,), new, _ = recording.record([newer])
    (run,) = runs(store.RESULTS)
    assert new == 0
    assert run.data.metrics["composite"] == 0.1
    assert run.data.tags["x"] == "y"
    assert len(client().get_metric_history(run_id, "mini/psnr")) == 1


def test_a_half_written_run_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(store.TrackingError, match="No such file"):
        recording.record([result(artifacts=((tmp_path / "missing.md", ""),))])
    assert [run.info.status for run in runs(store.RESULTS)] == ["RUNNING"]
    _, new, _ = recording.record([result()])
    assert new == 1
    assert [run.info.status for run in runs(store.RESULTS)] == ["FINISHED"]


def test_eight_processes_may_come_first_together(workspace: Path) -> None:
    (workspace / "mlflow.db").unlink()
    code = (
        "from stages.tracking.live import live\n"
        "with live('a', {}, {}) as log:\n"
        "    log.open()\n"
        "    log(1, {'l1': 1.0})\n"
        "assert log.run_id, 'no run'"
    )
    checkout = Path(recording.__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=checkout, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    errors = [process.communicate(timeout=120)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0] * 8, errors
    found = runs(store.LIVE)
    assert len(found) == 8
    assert all(run.data.metrics == {"l1": 1.0} for run in found)


def test_a_store_whose_making_was_killed_is_made_anew(workspace: Path) -> None:
    """MLflow says of one with some of its tables that they exist already, for ever."""
    (workspace / "mlflow.db").write_bytes(b"")
    with closing(sqlite3.connect(workspace / "mlflow.db.new-1")) as database:
        database.execute("create table trace_info (a)")
    with store.store(store.RESULTS) as (client, experiment):
        assert client.get_experiment(experiment).name == store.RESULTS
    assert [path.name for path in workspace.glob("mlflow.db*")] == ["mlflow.db"]


def test_an_unreachable_server_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY.replace("//", "//user:secret@"))
    start = time.monotonic()
    with pytest.raises(store.TrackingError, match=NOBODY) as caught:
        recording.record([result()])
    assert time.monotonic() - start < 10
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("broken", ["a folder", "no database", "no parent"])
def test_an_unusable_database_is_named_at_once(
    broken: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = workspace / "mlflow.db"
    database.unlink()
    if broken == "a folder":
        database.mkdir()
    elif broken == "no database":
        database.write_bytes(b"text " * 1000)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{workspace}/none/mlflow.db")
    start = time.monotonic()
    with pytest.raises(store.TrackingError, match=r"mlflow\.db cannot be used"):
        recording.record([result()])
    assert time.monotonic() - start < 10


def test_a_locked_database_is_named(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PATIENCE", 0.2)
    with closing(sqlite3.connect(workspace / "mlflow.db")) as other:
        other.execute("begin exclusive")
        with pytest.raises(store.TrackingError, match="database is locked; end the program"):
            recording.record([result()])
    assert recording.record([result()])[1] == 1


def test_a_store_of_another_mlflow_is_told_what_to_do(workspace: Path) -> None:
    with closing(sqlite3.connect(workspace / "mlflow.db")) as database, database:
        database.execute("update alembic_version set version_num = 'f4a9b2c7d1e6'")
    before = (workspace / "mlflow.db").read_bytes()
    said = r"f4a9b2c7d1e6.*another MLflow.*mlflow\.db\.old"
    with pytest.raises(store.TrackingError, match=said):
        recording.record([result()])
    assert (workspace / "mlflow.db").read_bytes() == before


def test_a_moved_workspace_is_told_what_to_do(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording.record([result()])
    moved = workspace.rename(workspace.with_name("moved"))
    monkeypatch.setenv("DVC_ROOT", str(moved))
    with pytest.raises(store.TrackingError, match="delete the store"):
        recording.record([result()])


def test_a_deleted_experiment_comes_back() -> None:
    _, _, experiment = recording.record([result()])
    client().delete_experiment(experiment)
    assert recording.record([result(key="k2")])[1] == 1
    assert client().get_experiment(experiment).lifecycle_stage == "active"


@pytest.mark.parametrize("given", ["sqlite:///other.db", "sqlite:////{root}/other.db"])
def test_a_named_database_is_found_from_every_directory(
    given: str, workspace: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given.format(root=str(workspace).lstrip("/")))
    recording.record([result()])
    assert (workspace / "other.db").exists()
    assert (workspace / "mlflow.db").read_bytes() == empty_store.read_bytes()


def test_the_links_name_runs_sweep_and_experiment() -> None:
    plain = ui.links("http://h:1", "7", ["a"])
    assert plain == {
        "charts": "http://h:1/#/experiments/7/runs?compareRunsMode=CHART&startTime=ALL"
    }
    given = ui.links("http://h:1", "7", ["a", "b"], "sweep.1f")
    assert given["charts"] == (
        "http://h:1/#/experiments/7/runs?searchFilter=tags.%60sweep.1f%60%20LIKE%20%27%25%27"
        "&compareRunsMode=CHART&startTime=ALL"
    )
    assert given["compared"] == (
        "http://h:1/#/compare-runs?runs=%5B%22a%22%2C%22b%22%5D&experiments=%5B%227%22%5D"
    )

"""An MLflow server with a real PostgreSQL and the artifact proxy: switching is one variable.

    python -m pytest -m slow tests/stages/test_server.py   (needs PostgreSQL's programs and psycopg)
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from stages.tracking import live
from tests.stages.test_record import RUN, project, stage  # noqa: F401  (fixtures)

pytestmark = pytest.mark.slow


def programs() -> Path:
    """The folder of initdb and postgres; Debian keeps it off the PATH."""
    found = [Path(where).resolve().parent for where in (shutil.which("initdb"),) if where]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if all((folder / name).exists() for name in ("initdb", "postgres", "pg_ctl", "createdb")):
            return folder
    pytest.skip("no PostgreSQL here (Debian: apt install postgresql)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Postgres:
    """A database of its own in a folder; as another user where the tests run as root."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.folder, self.port = programs(), folder, free_port()
        self.url = f"postgresql://omgsr@127.0.0.1:{self.port}/omgsr"
        self.user = "postgres" if os.getuid() == 0 else None
        if self.user:
            shutil.chown(folder, self.user)
        self.call("initdb", "-D", "db", "-U", "omgsr", "--auth=trust", "-E", "UTF8")
        self.start()
        self.call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "omgsr", "omgsr")

    def call(self, program: str, *words: str) -> None:
        command = [str(self.bin / program), *words]
        done = subprocess.run(
            command, cwd=self.folder, user=self.user, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.call("pg_ctl", "-D", "db", "-w", "-l", "log", "-o", options, "start")

    def stop(self) -> None:
        self.call("pg_ctl", "-D", "db", "-w", "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="no psycopg here: pip install 'omgsr[postgres]'")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        made = Postgres(Path(folder))
        yield made
        made.stop()


@pytest.fixture(scope="module")
def server(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server as docs/experiments.md starts it."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", postgres.url,
        "--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    given = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=given, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"

    def up() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return bool(urllib.request.urlopen(f"{address}/health", timeout=2).status == 200)
        except OSError:
            return False

    until(up)
    yield address
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def test_one_variable_moves_everything_to_the_server(
    server: str, project: Path, stage: Callable[..., subprocess.CompletedProcess[str]]  # noqa: F811
) -> None:
    done = stage(MLFLOW_TRACKING_URI=server)
    assert "2 new, 0 already" in done.stdout, done.stderr
    assert f"{server}/#/experiments/" in done.stdout
    assert "0 new, 2 already" in stage(MLFLOW_TRACKING_URI=server).stdout
    assert not (project / "mlflow.db").exists()
    assert not (project / "mlartifacts").exists()
    client = MlflowClient(tracking_uri=server, registry_uri=server)
    experiment = client.get_experiment_by_name("omgsr")
    assert experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    full = runs[RUN].info.run_id
    lock = client.download_artifacts(full, "dvc.lock", str(project))
    assert "train@" in Path(lock).read_text()
    assert client.get_model_version_by_alias("omgsr", RUN).run_id == full
    assert any("preview" in file.path for file in client.list_artifacts(full, "images"))


def test_a_database_that_stops_costs_seconds_and_loses_nothing(
    server: str,
    postgres: Postgres,
    project: Path,  # noqa: F811
    stage: Callable[..., subprocess.CompletedProcess[str]],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("DVC_ROOT", str(project))
    client = MlflowClient(tracking_uri=server)
    for run in client.search_runs([client.get_experiment_by_name("omgsr").experiment_id]):
        client.delete_run(run.info.run_id)
    start = time.monotonic()
    with live.live("full", {}, {"omgsr.work": "w"}) as log:
        assert log.open()
        postgres.stop()
        stopped = time.monotonic()
        for step in range(2, 3000):
            log(step, {"l1": 1.0})
    assert time.monotonic() - stopped < 30
    assert capsys.readouterr().err.count("Live curves are off") == 1
    failed = stage(MLFLOW_TRACKING_URI=server)
    assert failed.returncode == 1
    assert "Nothing is lost" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert time.monotonic() - start < 90
    postgres.start()
    until(lambda: "2 new, 0 already" in stage(MLFLOW_TRACKING_URI=server).stdout)
    names = [run.info.run_name for run in client.search_runs(
        [client.get_experiment_by_name("omgsr").experiment_id], "attributes.status = 'FINISHED'"
    )]  # fmt: skip
    assert sorted(names) == ["bicubic", RUN]


def test_the_database_itself_is_a_store_too(
    postgres: Postgres, project: Path, stage: Callable[..., subprocess.CompletedProcess[str]]  # noqa: F811
) -> None:
    postgres.call(
        "createdb", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "omgsr", "direct"
    )
    uri = postgres.url.removesuffix("omgsr") + "direct"
    assert "2 new, 0 already" in stage(MLFLOW_TRACKING_URI=uri).stdout
    assert (project / "mlartifacts").is_dir()
    assert not (project / "mlflow.db").exists()

"""Others at work: eight first users of the store, two runs in one workspace, a server that dies."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.chaos.outcome import Outcome, outcome
from benchmarks.chaos.project import COMPLETE, RUN, Project
from benchmarks.chaos.running import Running, Said
from benchmarks.chaos.storage import forget

USERS = 8
LIVE = COMPLETE.replace("'omgsr'", "'omgsr-live'").replace("'FINISHED'", "'RUNNING'")


def race(project: Project) -> Outcome:
    """Eight `record` at once on a store that is not there yet."""
    project.reset("done")
    forget(project)
    users = [project.start("sh", "stages/run.sh", "record") for _ in range(USERS)]
    ends = [user.end() for user in users]
    failed = [one for one in ends if one.code] or ends[:1]
    together = Said(failed[0].code, "\n".join(one.text for one in failed))
    return outcome(project, f"{USERS} first users of the store at once", together)


def twice(project: Project) -> Outcome:
    """A second `dvc repro` while the first one trains."""
    project.reset("done")
    project.rewind(f"train@{RUN}")
    first = project.start()
    first.reach(f"train@{RUN}")
    second = project.repro()
    code = first.end().code
    found = outcome(project, "a second `dvc repro` in the workspace", second)
    return replace(found, said=f"{found.said} (the first one ends with {code})")


@contextmanager
def server(project: Project, folder: Path) -> Iterator[tuple[Running, str]]:
    """A server of MLflow, once it answers, with its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir(exist_ok=True)
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    words += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    running = project.start(*words, **quiet)
    try:
        running.until(lambda: answers(port), limit=120.0)
        yield running, f"http://127.0.0.1:{port}"
    finally:
        running.kill_tree()


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def server_gone(project: Project) -> Outcome:
    """The server is killed once it has the curves of a training, and comes back afterwards."""
    project.reset("done")
    project.rewind(f"train@{RUN}")
    folder = project.top / "server"
    with server(project, folder) as (serving, address):
        running = project.start(MLFLOW_TRACKING_URI=address)
        shown = running.until(lambda: bool(project.records(LIVE, folder)))
        serving.kill_tree()
        said = running.end()
    with server(project, folder) as (_, address):
        project.env["MLFLOW_TRACKING_URI"] = address
        try:
            found = outcome(project, "MLflow's server killed in a training", said, store=folder)
        finally:
            del project.env["MLFLOW_TRACKING_URI"]
    return found if shown else replace(found, fault=f"{found.fault} (before it had its curves)")

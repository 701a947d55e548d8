"""Where MLflow's store is, its safe first use, and errors that say what to do."""

import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages import workspace

# Read when mlflow is imported or at its first request. Nothing is shown or reported that nobody
# asked for; an unreachable server costs seconds, not the four minutes of MLflow's own defaults.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}.items():
    os.environ.setdefault(_name, _value)

# MLflow takes a second to import, so whoever uses it imports it where it is used: a stage that has
# nothing to log does not wait for it.
if TYPE_CHECKING:
    from mlflow import MlflowClient

RESULTS, LIVE = "omgsr", "omgsr-live"
PATIENCE = 20.0
"""Seconds that another program may keep a sqlite file locked."""
_FILL = "mv mlflow.db mlflow.db.old, and `dvc repro` fills a new one"
_ANEW = f"it is of another MLflow: {_FILL}"
_BROKEN = f"it is damaged: {_FILL}"
ADVICE = {
    "database is locked": "end the program that writes to it or copies it",
    "revision": _ANEW,
    "schema": _ANEW,
    "not a database": _BROKEN,
    "malformed": _BROKEN,
    "already exists": _BROKEN,
}
"""What to do where an error has these words."""
Point = tuple[str, float, int]
"""A metric's name, value and step."""


class TrackingError(RuntimeError):
    """The store cannot be used; the text says why and what to do."""


def uri() -> str:
    """Give the store's address: $MLFLOW_TRACKING_URI, else sqlite in the workspace."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    relative = given.startswith("sqlite:///") and not given.startswith("sqlite:////")
    return f"sqlite:///{workspace() / given.removeprefix('sqlite:///')}" if relative else given


def artifact_location() -> str | None:
    """Give the folder of an experiment's files, or None where a server decides.

    Said explicitly because MLflow's default is the working directory of whoever comes first.
    """
    if uri().startswith("sqlite:"):
        return (Path(uri().removeprefix("sqlite:///")).parent / "mlartifacts").as_uri()
    return (workspace() / "mlartifacts").as_uri() if "sql" in uri().partition(":")[0] else None


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one process of this workspace in: parallel first uses of a sqlite store corrupt it."""
    with (workspace() / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_database() -> None:
    """Refuse at once a sqlite file that cannot be written: MLflow would retry for 100 seconds.

    A new one is made under another name: MLflow does not take up one whose making was killed.
    """
    if not uri().startswith("sqlite:"):
        return
    path = Path(uri().removeprefix("sqlite:///"))
    there = path.exists() and path.stat().st_size > 0
    used = path if there else path.with_name(f"{path.name}.new-{time.time_ns()}")
    with closing(sqlite3.connect(used, timeout=PATIENCE)) as database:
        database.execute("begin immediate")
    if not there:
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{used}").search_experiments(max_results=1)
        used.replace(path)
        for left in path.parent.glob(f"{path.name}.new-*"):
            left.unlink()


def _experiment(client: "MlflowClient", name: str) -> str:
    """Give the id of the experiment of this name, made or restored if need be."""
    found = client.get_experiment_by_name(name)
    if found is None:
        return client.create_experiment(name, artifact_location=artifact_location())
    if uri().startswith("sqlite:") and found.artifact_location != artifact_location():
        raise TrackingError(
            f"it keeps its files in {found.artifact_location}, not in {artifact_location()} "
            "(was the folder moved?); delete the store, `dvc repro` fills a new one"
        )
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


@contextmanager
def store(name: str) -> Iterator[tuple["MlflowClient", str]]:
    """Give the client and the experiment's id, alone; errors of any kind become TrackingError."""
    try:
        with _one_at_a_time():
            _check_database()
            from mlflow import MlflowClient

            client = MlflowClient(tracking_uri=uri())
            yield client, _experiment(client, name)
    # MLflow raises its own errors, those of its database and those of its HTTP library.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        advice = [f"; {what}" for words, what in ADVICE.items() if words in reason][:1]
        said = f"MLflow store {uri()} cannot be used: {reason}{''.join(advice)}"
        raise TrackingError(re.sub("//[^/@ ]*@", "//", said)) from None  # no password shown


def send(client: "MlflowClient", run: str, points: Iterable[Point]) -> None:
    """Log metrics in the 1000 a call that MLflow takes."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000)  # of two values at one step the later one counts
    metrics = [Metric(name, value, now, step) for name, value, step in points]
    for first in range(0, len(metrics), 1000):
        client.log_batch(run, metrics=metrics[first : first + 1000])

"""The only file that talks to MLflow: where its store is, live curves, one run per result.

MLflow is a projection of what git and DVC hold. It may be missing, unreachable or deleted at any
time: training goes on without it, and `record` fills it again.
"""

import fcntl
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

# Read when mlflow is imported or at its first request: an unreachable server costs seconds, not
# the four minutes of MLflow's own defaults.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Param, Run, RunTag  # noqa: E402

RESULTS, LIVE = "omgsr", "omgsr-live"
Point = tuple[str, float, int]
"""A metric's name, value and step."""


class TrackingError(RuntimeError):
    """The store cannot be used; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one run of the pipeline gives to MLflow, identified by `key`.

    `report` stands for what may change later: another `report` with the same `key` is an update.
    """

    key: str
    report: str
    name: str
    params: Mapping[str, str]
    points: tuple[Point, ...]
    """Scores, at step 0."""
    curves: tuple[Point, ...]
    tags: Mapping[str, str]
    artifacts: tuple[tuple[Path, str], ...]
    """Files and the folder of each in the run, '' for the top."""
    start: int | None = None
    """Milliseconds since 1970, as `end`."""
    end: int | None = None


def root() -> Path:
    """Give the workspace, also in DVC's temporary copies of it, which do not outlive a run."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def uri() -> str:
    """Give the store's address: $MLFLOW_TRACKING_URI, else sqlite in the workspace."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    relative = given.startswith("sqlite:///") and not given.startswith("sqlite:////")
    return f"sqlite:///{root() / given.removeprefix('sqlite:///')}" if relative else given


def artifact_location() -> str | None:
    """Give the folder of an experiment's files, or None where a server decides.

    Said explicitly because MLflow's default is the working directory of whoever comes first.
    """
    if uri().startswith("sqlite:"):
        return (Path(uri().removeprefix("sqlite:///")).parent / "mlartifacts").as_uri()
    return (root() / "mlartifacts").as_uri() if "sql" in uri().partition(":")[0] else None


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Let one process of this workspace in: parallel first uses of a sqlite store corrupt it."""
    with (root() / ".mlflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_database() -> None:
    """Refuse at once a sqlite file that cannot be written: MLflow would retry for 100 seconds."""
    if uri().startswith("sqlite:"):
        with closing(sqlite3.connect(uri().removeprefix("sqlite:///"), timeout=20)) as database:
            database.execute("begin immediate")


def _experiment(client: MlflowClient, name: str) -> str:
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
def _store(name: str) -> Iterator[tuple[MlflowClient, str]]:
    """Give the client and the experiment's id, alone; errors of any kind become TrackingError."""
    try:
        with _one_at_a_time():
            _check_database()
            client = MlflowClient(tracking_uri=uri())
            yield client, _experiment(client, name)
    # MLflow raises its own errors, those of its database and those of its HTTP library.
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        said = f"MLflow store {uri()} cannot be used: {reason}"
        raise TrackingError(re.sub("//[^/@ ]*@", "//", said)) from None  # no password shown


def _send(client: MlflowClient, run: str, points: Iterable[Point]) -> None:
    """Log metrics in the 1000 a call that MLflow takes."""
    now = int(time.time() * 1000)  # of two values at one step the later one counts
    metrics = [Metric(name, value, now, step) for name, value, step in points]
    for first in range(0, len(metrics), 1000):
        client.log_batch(run, metrics=metrics[first : first + 1000])


def _known(client: MlflowClient, experiment: str, key: str) -> Run | None:
    """Give the complete run of this key; one that a killed process left half-written is deleted."""
    complete = None
    for run in client.search_runs([experiment], f"tags.`omgsr.key` = '{key}'"):
        if run.info.status == "FINISHED":
            complete = run
        else:
            client.delete_run(run.info.run_id)
    return complete


def _refresh(client: MlflowClient, run: Run, result: Result) -> None:
    """Log what may change after a run was made: scores relative to other runs, tags, reports."""
    run_id, had = run.info.run_id, run.data.metrics
    _send(client, run_id, (p for p in result.points if had.get(p[0]) != p[1]))
    for path, folder in result.artifacts:
        client.log_artifact(run_id, str(path), folder or None)
    tags = {**result.tags, "omgsr.report": result.report}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _create(client: MlflowClient, experiment: str, result: Result) -> str:
    """Make the run of a result; FINISHED comes last and says that it is complete."""
    tags = {"omgsr.key": result.key}
    made = client.create_run(experiment, start_time=result.start, tags=tags, run_name=result.name)
    run = made.info.run_id
    params = [Param(name, value[:6000]) for name, value in result.params.items()]
    for first in range(0, len(params), 100):
        client.log_batch(run, params=params[first : first + 100])
    _send(client, run, result.curves)
    _refresh(client, made, result)
    client.set_terminated(run, status="FINISHED", end_time=result.end)
    return run


def record(results: Iterable[Result]) -> tuple[list[str], int, str]:
    """Put each result into the store once => run ids, how many are new, the experiment's id."""
    runs, new = [], 0
    with _store(RESULTS) as (client, experiment):
        for result in results:
            known = _known(client, experiment, result.key)
            if known is None:
                new += 1
                runs.append(_create(client, experiment, result))
                continue
            runs.append(known.info.run_id)
            if known.data.tags.get("omgsr.report") != result.report:
                _refresh(client, known, result)
    return runs, new, experiment


def _unfinished(client: MlflowClient, experiment: str, work: str) -> str | None:
    """Give the live run that a killed training of the same checkpoints left, to be continued."""
    same = f"tags.`omgsr.work` = '{work}' and attributes.status = 'RUNNING'"
    found = client.search_runs([experiment], same, max_results=1) if work else []
    return found[0].info.run_id if found else None


class Live:
    """The curves of a training while it runs; the first failure switches it off with one warning.

    Nothing here raises: the training writes its own history, from which `record` makes the curves.
    The tag `omgsr.work` names the checkpoints, so that a resumed training continues its curves.
    """

    def __init__(self, name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        self.run_id: str | None = None
        self._client: MlflowClient | None = None
        self._waiting: list[Point] = []
        self._sent = time.monotonic()
        with self._guarded(), _store(LIVE) as (client, experiment):
            self._client = client
            self.run_id = _unfinished(client, experiment, tags.get("omgsr.work", ""))
            if self.run_id is None:
                made = client.create_run(experiment, tags=dict(tags), run_name=name)
                self.run_id = made.info.run_id
                values = [Param(key, str(value)[:6000]) for key, value in params.items()]
                client.log_batch(self.run_id, params=values[:100])

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._client = None
            self._waiting.clear()
            print(f"Live curves are off, the training goes on: {error}", file=sys.stderr)

    def __call__(self, step: int, values: Mapping[str, float]) -> None:
        """Log values of a step; they are sent together every few seconds."""
        if self._client is None:
            return
        self._waiting += [(name, float(value), step) for name, value in values.items()]
        if len(self._waiting) >= 900 or time.monotonic() - self._sent > 5:
            self._flush()

    def _flush(self) -> None:
        if self._client is not None and self.run_id is not None:
            with self._guarded():
                _send(self._client, self.run_id, self._waiting)
                self._waiting.clear()
                self._sent = time.monotonic()

    def picture(self, path: Path, folder: str) -> None:
        """Put an image file into a folder of the run."""
        if self._client is not None and self.run_id is not None:
            with self._guarded():
                self._client.log_artifact(self.run_id, str(path), folder)

    def close(self, status: str) -> None:
        """Send what waits and end the run as FINISHED, FAILED or KILLED."""
        self._flush()
        if self._client is not None and self.run_id is not None:
            with self._guarded():
                self._client.set_terminated(self.run_id, status=status)


@contextmanager
def live(name: str, params: Mapping[str, object], tags: Mapping[str, str]) -> Iterator[Live]:
    """Give `log(step, {name: value})`, whose `run_id` is None where there is no store."""
    log = Live(name, params, tags)
    try:
        yield log
    except BaseException as error:
        log.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    log.close("FINISHED")


def results_experiment() -> str:
    """Give the id of the experiment with the results, made if need be."""
    with _store(RESULTS) as (_, experiment):
        return experiment

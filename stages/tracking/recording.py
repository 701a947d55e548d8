"""MLflow for the stages: live curves, one run per result. These files alone talk to it:

store.py (where it is), live.py (a training's curves), registry.py (models, data sets, pictures),
served.py (what MLflow runs to serve a model).

MLflow is a projection of what git and DVC hold. It may be missing, unreachable or deleted at any
time: training goes on without it, and `record` fills it again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from stages.tracking import registry
from stages.tracking.store import RESULTS, Point, send, store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


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
    """`RUN` in a tag stands for the run's id."""
    artifacts: tuple[tuple[Path, str], ...]
    """Files and the folder of each in the run, '' for the top."""
    patch: str = ""
    """What differs from the commit."""
    pictures: tuple[registry.Picture, ...] = ()
    """(file, key, step) for picture grids."""
    data: tuple[registry.Data, ...] = ()
    """What the run was trained and measured on."""
    model: Path | None = None
    """Folder with adapters and card, for a model that can be loaded and served."""
    start: int | None = None
    """Milliseconds since 1970, as `end`."""
    end: int | None = None


def _known(client: "MlflowClient", experiment: str, key: str) -> "Run | None":
    """Give the complete run of this key; one that a killed process left half-written is deleted."""
    complete = None
    for run in client.search_runs([experiment], f"tags.`omgsr.key` = '{key}'"):
        if run.info.status == "FINISHED":
            complete = run
        else:
            client.delete_run(run.info.run_id)
    return complete


def _refresh(client: "MlflowClient", run: "Run", result: Result) -> None:
    """Log what may change after a run was made: scores relative to other runs, tags, reports."""
    from mlflow.entities import RunTag

    run_id, had = run.info.run_id, run.data.metrics
    send(client, run_id, (p for p in result.points if had.get(p[0]) != p[1]))
    for path, folder in result.artifacts:
        client.log_artifact(run_id, str(path), folder or None)
    if result.patch:
        client.log_text(run_id, result.patch, "changes.patch")
    tags = {name: value.replace("RUN", run_id) for name, value in result.tags.items()}
    tags |= {"omgsr.report": result.report}
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])


def _create(client: "MlflowClient", experiment: str, result: Result) -> str:
    """Make the run of a result; FINISHED comes last and says that it is complete."""
    from mlflow.entities import Param

    tags = {"omgsr.key": result.key}
    made = client.create_run(experiment, start_time=result.start, tags=tags, run_name=result.name)
    run = made.info.run_id
    params = [Param(name, value[:6000]) for name, value in result.params.items()]
    for first in range(0, len(params), 100):
        client.log_batch(run, params=params[first : first + 100])
    _refresh(client, made, result)  # scores come first: MLflow compares by the first metric
    send(client, run, result.curves)
    registry.log_data(client, run, result.data)
    registry.log_pictures(client, run, result.pictures)
    client.set_terminated(run, status="FINISHED", end_time=result.end)
    return run


def record(results: Iterable[Result]) -> tuple[list[str], int, str]:
    """Put each result into the store once => run ids, how many are new, the experiment's id."""
    runs, new = [], 0
    with store(RESULTS) as (client, experiment):
        for result in results:
            known = _known(client, experiment, result.key)
            if known is None:
                new += 1
                runs.append(_create(client, experiment, result))
            else:
                runs.append(known.info.run_id)
                if known.data.tags.get("omgsr.report") != result.report:
                    _refresh(client, known, result)
            if result.model is not None:
                registry.publish(client, experiment, runs[-1], result.name, result.model)
    return runs, new, experiment


def sweeps(most: int = 10) -> tuple[str, dict[str, tuple[str, list[str]]]]:
    """Give the id of the experiment with the results and its latest sweeps, the last one first.

    A sweep is runs that stood side by side: the tag `sweep.<digest>` which each of them has =>
    variants, timesteps and seeds, and those that were trained, whose settings can be compared.
    """
    with store(RESULTS) as (client, experiment):
        found: dict[str, tuple[str, list[str]]] = {}
        for run in client.search_runs([experiment], order_by=["attributes.start_time DESC"]):
            for name, about in run.data.tags.items():
                if name.startswith("sweep."):
                    ids = found.setdefault(name, (about, []))[1]
                    ids += [run.info.run_id] if run.data.params.get("method") == "omgsr" else []
    return experiment, dict(islice(found.items(), most))

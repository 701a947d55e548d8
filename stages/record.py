"""Puts every run into MLflow: settings, scores, curves and reports, whatever DVC has skipped."""

import csv
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from omgsr.config import Config, load
from omgsr.core.files import read_json
from stages import times_of
from stages.tracking import evidence, recording, registry, store, ui
from stages.tracking.evidence import digest
from stages.tracking.recording import Result
from stages.tracking.store import Point

CURVE = 1000
"""Points of a loss curve at most: MLflow's pages are slow with more."""


def flatten(values: Any, name: str = "") -> dict[str, str]:
    """Nested settings => {"train.lr": "5e-05", ...}."""
    if isinstance(values, dict):
        parts = [flatten(v, f"{name}.{key}" if name else str(key)) for key, v in values.items()]
        return {key: value for part in parts for key, value in part.items()}
    return {name: values if isinstance(values, str) else json.dumps(values)}


def settings(config: Config, run: str) -> dict[str, str]:
    """Give what a run depends on; for a baseline no setting of a model."""
    values = asdict(config)
    variants = values.pop("variants")
    del values["sweep"], values["methods"], values["ablations"]
    if run in config.method_names:
        model = ("foundation", "timestep", "train", "infer")
        own = {"method": run, "baseline": read_json(Path("runs", run, "method.json"))}
        return flatten(own | {k: v for k, v in values.items() if k not in model})
    variant, t, seed = config.runs[config.run_names.index(run)]
    own = {"method": "omgsr", "variant": variant, "timestep_asked": t, "train_seed": seed}
    card = read_json(Path("runs", run, "model", "omgsr.json"))
    # MLflow's comparison begins with what differs: hashes always do, and the weights of the losses
    # once are enough. A term that a variant leaves out has weight 0 (params.yaml).
    card = {name: value for name, value in card.items() if name not in ("adapters", "losses")}
    terms = dict.fromkeys(term for other in variants.values() for term in other["losses"])
    losses = {term: config.losses(variant).get(term, 0.0) for term in terms}
    return flatten(own | {"losses": losses} | values | {"model": card})


def rows(path: str, run: str) -> list[dict[str, str]]:
    """Give the rows of a report that belong to a run."""
    with open(path, newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["run"] == run]


def scores(run: str) -> Iterator[Point]:
    """Give the mean of each metric on each benchmark: what the run itself has reached."""
    for row in rows("reports/scores.csv", run):
        if row["image"] == "" and row["value"]:
            yield f"{row['benchmark']}/{row['metric']}", float(row["value"]), 0


def standing(run: str) -> Iterator[Point]:
    """Give the composite scores, which depend on the runs beside it, and t*."""
    for row in rows("reports/composite.csv", run):
        if row["composite"]:
            where = "" if row["benchmark"] == "average" else f"{row['benchmark']}/"
            yield f"{where}composite", float(row["composite"]), 0
    yield "t_star", float(read_json("reports/timestep.json")["t"]), 0


def curves(run: str) -> tuple[Point, ...]:
    """Give the curves of the training's own history: train/<term>, val/<metric>, grad/<term>."""
    with Path("runs", run, "train", "history.csv").open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    stride = -(-len(history) // CURVE) or 1
    # Rows with a validation or a gradient norm are few and all shown.
    kept = [
        row
        for index, row in enumerate(history)
        if index % stride == 0 or any("/" in term and value for term, value in row.items())
    ]
    return tuple(
        (term if "/" in term else f"train/{term}", float(value), int(row["step"]))
        for row in kept
        for term, value in row.items()
        if term != "step" and value
    )


def lock_entries(locked: dict[str, Any], run: str, stages: tuple[str, ...]) -> list[Any]:
    """Give what DVC locked for these stages of a run; equal entries mean equal bytes."""
    missing = [f"{stage}@{run}" for stage in stages if f"{stage}@{run}" not in locked]
    if missing:
        raise FileNotFoundError(f"dvc.lock has no {missing[0]}: run `dvc repro` to make it")
    return [locked[f"{stage}@{run}"] for stage in stages]


def trained_on(locked: dict[str, Any], run: str) -> registry.Data:
    """Give the pairs that a run was trained on, by the digests of their images."""
    (entry,) = lock_entries(locked, run, ("train",))
    train = {dep["path"]: dep.get("md5", "") for dep in entry["deps"]}
    digests = [train.get(f"data/pairs/{name}", "") for name in ("train", "train.csv")]
    return evidence.dataset("train", "training", digest(digests))


def times(run: str) -> dict[str, Any]:
    """Give clock times, memory and live run of a training, {} where it was elsewhere."""
    path = times_of(Path("runs", run, "model"))
    return dict(read_json(path)) if path.exists() else {}


def collect(config: Config, run: str, shared: evidence.Shared) -> Result:
    """Read everything that the pipeline has written about one run."""
    trains = run in config.run_names
    stages = ("train", "infer", "score") if trains else ("baseline", "score_baseline")
    trained = times(run) if trains else {}
    reached = tuple(scores(run))
    beside = tuple(sorted(standing(run), key=lambda point: point[0] != "composite"))
    if "peak_memory_gib" in trained:
        beside += (("peak_memory_gib", float(trained["peak_memory_gib"]), 0),)
    links = evidence.tags(run, config.profile, trained.get("mlflow_run_id"), shared.changed)
    links |= evidence.place(config, run)
    return Result(
        key=digest(lock_entries(shared.locked, run, stages), reached),
        report=digest(beside, links, shared.report),
        name=run,
        params=settings(config, run),
        points=beside + reached,
        curves=curves(run) if trains else (),
        tags=links,
        artifacts=shared.artifacts,
        patch=shared.changed[1],
        pictures=evidence.pictures(config, run),
        data=((trained_on(shared.locked, run),) if trains else ()) + shared.benchmarks,
        model=Path("runs", run, "model") if trains else None,
        **{end: int(trained[end] * 1000) for end in ("start", "end") if end in trained},
    )


def main() -> None:
    """Record the runs that params.yaml names, and print where to look at them."""
    config = load()
    shared = evidence.share(config)
    results = [collect(config, run, shared) for run in (*config.run_names, *config.method_names)]
    together = evidence.sweep(config, [result.key for result in results])
    results = [
        replace(one, tags={**one.tags, **together}, report=digest(one.report, together))
        for one in results
    ]
    runs, new, experiment = recording.record(results)
    print(f"MLflow: {new} new, {len(runs) - new} already there. To look at them: make ui")
    trained = runs[: len(config.run_names)]
    for name, link in ui.links(ui.server(), experiment, trained, next(iter(together))).items():
        print(f"  {name:9} {link}")


if __name__ == "__main__":
    try:
        main()
    except store.TrackingError as error:
        experiment = os.environ.get("DVC_EXP_NAME", "")
        again = f"`dvc exp apply {experiment}`, then `dvc repro`," if experiment else "`dvc repro`"
        print(
            f"record: {error}\nNothing is lost: reports/ and runs/ are complete, and the next "
            f"{again} records them. Another store: MLFLOW_TRACKING_URI.",
            file=sys.stderr,
        )
        # DVC throws an experiment away that fails, with all its results.
        sys.exit(0 if experiment else 1)
    except (ValueError, OSError) as error:
        sys.exit(f"record: {error}")

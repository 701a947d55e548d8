"""Puts every run into MLflow: settings, scores, curves and reports, whatever DVC has skipped."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from omgsr._yaml import read_yaml
from omgsr.config import Config, load
from omgsr.files import read_json
from stages import tracking, ui
from stages.tracking import Point, Result

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
    del values["sweep"], values["methods"]
    if run in config.method_names:
        model = ("foundation", "timestep", "train", "infer")
        own = {"method": run, "baseline": read_json(Path("runs", run, "method.json"))}
        return flatten(own | {k: v for k, v in values.items() if k not in model})
    variant, t, seed = config.runs[config.run_names.index(run)]
    own = {"method": "omgsr", "variant": variant, "timestep_asked": t, "train_seed": seed}
    card = read_json(Path("runs", run, "model", "omgsr.json"))
    return flatten(own | variants[variant] | values | {"model": card})


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
    trained = Path("runs", run, "train", "run.json")
    if trained.exists():
        yield "peak_memory_gib", read_json(trained)["peak_memory_gib"], 0


def curves(run: str) -> tuple[Point, ...]:
    """Give the curves of the training's own history: train/<term>, val/<metric>, grad/<term>."""
    with Path("runs", run, "train", "history.csv").open(newline="", encoding="utf-8") as file:
        history = list(csv.DictReader(file))
    stride = -(-len(history) // CURVE) or 1
    # Rows with a validation or a gradient norm are few and all shown.
    kept = [row for i, row in enumerate(history) if i % stride == 0 or _rare(row)]
    return tuple(
        (term if "/" in term else f"train/{term}", float(value), int(row["step"]))
        for row in kept
        for term, value in row.items()
        if term != "step" and value
    )


def _rare(row: dict[str, str]) -> bool:
    return any("/" in term and value for term, value in row.items())


def lock_entries(run: str, stages: tuple[str, ...]) -> list[Any]:
    """Give what DVC locked for these stages of a run; equal entries mean equal bytes."""
    locked = read_yaml(Path("dvc.lock"), "dvc.lock")["stages"]
    missing = [f"{stage}@{run}" for stage in stages if f"{stage}@{run}" not in locked]
    if missing:
        raise FileNotFoundError(f"dvc.lock has no {missing[0]}: run `dvc repro` to make it")
    # runs/<run>/train holds clock times: the same model trained again is the same result.
    times = f"runs/{run}/train"
    return [
        {**entry, "outs": [out for out in entry["outs"] if out["path"] != times]}
        for entry in (locked[f"{stage}@{run}"] for stage in stages)
    ]


def git(*arguments: str) -> str:
    """Give the output of git, '' where there is no repository."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def tags(run: str, profile: str, live: str | None) -> dict[str, str]:
    """Link a run to git, to DVC's experiment and to its live curves, with the way back to it."""
    commit, experiment = git("rev-parse", "HEAD"), os.environ.get("DVC_EXP_NAME", "")
    changed = git("diff", "--name-only", "HEAD", "--", ".", ":!reports", ":!dvc.lock")
    back = f"dvc exp apply {experiment}" if experiment else f"git checkout {commit[:12]}"
    if not experiment and (changed or not commit):
        back = "cp <this run's artifact dvc.lock> dvc.lock"
    given = {
        "profile": profile,
        "git.commit": commit,
        "git.changed": " ".join(changed.splitlines()),
        "dvc.exp_name": experiment,
        "dvc.baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "omgsr.live_run": live or "",
        "mlflow.source.name": "dvc.yaml",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": commit,
        "mlflow.note.content": f"Back to these files: `{back} && dvc checkout runs/{run}`",
    }
    return {name: value for name, value in given.items() if value}


def artifacts(run: str) -> tuple[tuple[Path, str], ...]:
    """Give the files of the report, its tables and its pictures, and the previews of a training."""
    previews = Path("runs", run, "train", "previews")
    folders = [Path("reports/tables"), Path("reports/figures")]
    folders += [previews] if previews.is_dir() else []
    found = [(file, folder.name) for folder in folders for file in sorted(folder.iterdir())]
    return (*found, (Path("reports/timestep.png"), "figures"))


def digest(*values: Any, files: tuple[Path, ...] = ()) -> str:
    """Give the SHA-256 of plain values and of the bytes of files."""
    text = json.dumps(values, sort_keys=True, default=str)
    return sha256(b"".join([text.encode(), *(file.read_bytes() for file in files)])).hexdigest()


def milliseconds(moment: float | None) -> int | None:
    """Seconds since 1970 => milliseconds since 1970."""
    return None if moment is None else int(moment * 1000)


def collect(config: Config, run: str) -> Result:
    """Read everything that the pipeline has written about one run."""
    trains = run in config.run_names
    stages = ("train", "infer", "score") if trains else ("baseline", "score_baseline")
    trained = read_json(Path("runs", run, "train", "run.json")) if trains else {}
    reached, beside, files = tuple(scores(run)), tuple(standing(run)), artifacts(run)
    links = tags(run, config.profile, trained.get("mlflow_run_id"))
    return Result(
        key=digest(lock_entries(run, stages), reached),
        report=digest(beside, links, files=tuple(path for path, _ in files)),
        name=run,
        params=settings(config, run),
        points=reached + beside,
        curves=curves(run) if trains else (),
        tags=links,
        artifacts=((Path("dvc.lock"), ""), *files),
        start=milliseconds(trained.get("start")),
        end=milliseconds(trained.get("end")),
    )


def main() -> None:
    """Record the runs that params.yaml names, and print where to look at them."""
    config = load()
    results = [collect(config, run) for run in (*config.run_names, *config.method_names)]
    runs, new, experiment = tracking.record(results)
    charts, compared = ui.links(ui.server(), experiment, runs)
    print(f"MLflow: {new} new, {len(runs) - new} already there. To look at them: make ui")
    print(f"  charts    {charts}\n  compared  {compared}")


if __name__ == "__main__":
    try:
        main()
    except (tracking.TrackingError, ValueError, OSError) as error:
        sys.exit(
            f"record: {error}\nNothing is lost: reports/ and runs/ are complete, and the next "
            "`dvc repro` records them. Another store: MLFLOW_TRACKING_URI."
        )

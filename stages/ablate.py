"""`make ablations`: the paper's comparisons, by DVC in a copy => reports/ablations/<name>/.

    python -m stages.ablate                  every ablation of the profile
    python -m stages.ablate lrr osediff      these
    python -m stages.ablate timestep -j 2    its runs two at a time first, through DVC's queue

An ablation is a set of runs in configs/<profile>.yaml. They are trained, scored and compared in a
temporary copy (`dvc exp run --temp`), so that params.yaml and reports/ stay as they are. Runs that
any pipeline here has made before are taken from DVC's run-cache: doing it again trains nothing.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from omgsr import ablation, config, files, metrics, plots, quoted, tables
from omgsr._limits import unknown
from omgsr.composite import AVERAGE, composite

OUT = Path("reports/ablations")
POLL = 2.0
"""Seconds between two looks at the queue."""


class AblationError(RuntimeError):
    """A command of DVC or git that failed; its own words came before."""


def main(names: list[str], jobs: int) -> None:
    """The ablations of these names, or all, one after the other."""
    settings = config.load()
    for name in names:
        if name not in settings.ablations:
            raise ValueError(unknown("unknown ablation", name, settings.ablations))
    git("rev-parse", "HEAD")  # dvc exp needs a commit to start from
    for name in names or list(settings.ablations):
        plan, started = settings.ablations[name], time.time()
        if jobs:
            queue(name, plan, jobs)
        revision = together(name, plan)
        publish(name, settings, revision)
        print(f"ablate: {name}: {OUT / name}/README.md, {time.time() - started:.0f} s", flush=True)


def dvc(*words: str, **environment: str) -> None:
    """Runs a command of DVC on the screen."""
    # The queue's workers look for `dvc` on the PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    env = {"PATH": path, **environment}
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(command, check=False, env=os.environ | env)
    if done.returncode:
        raise AblationError(f"`dvc {' '.join(words)}` failed with exit code {done.returncode}")


def git(*words: str) -> bytes:
    """What a command of git prints."""
    done = subprocess.run(["git", *words], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise AblationError(f"`git {' '.join(words)}` failed: {said}")
    return done.stdout


def together(name: str, plan: config.Ablation) -> str:
    """Makes all runs and their comparison as one experiment of DVC => its commit."""
    experiment = f"ablation-{name}"
    forget(experiment)
    dvc("exp", "run", "--temp", "-n", experiment, *sweep(*plan.axes))
    return git("rev-parse", "--verify", reference(experiment)).decode().strip()


def sweep(*axes: Sequence[Any]) -> list[str]:
    """Variants, timesteps and seeds => the options of `dvc exp run` that name these runs."""
    named = zip(("variants", "timesteps", "seeds"), axes, strict=True)
    lists = [f"sweep.{axis}=[{','.join(map(str, values))}]" for axis, values in named]
    return [word for text in lists for word in ("-S", text)]


def reference(experiment: str) -> str:
    """Where git keeps an experiment of DVC that started from HEAD."""
    head = git("rev-parse", "HEAD").decode().strip()
    return f"refs/exps/{head[:2]}/{head[2:]}/{experiment}"


def forget(experiment: str) -> None:
    """Removes an earlier experiment of the name from the same commit; its runs stay cached."""
    where = ["git", "rev-parse", "--quiet", "--verify", reference(experiment)]
    if subprocess.run(where, capture_output=True, check=False).returncode == 0:
        dvc("exp", "remove", experiment)


def queue(name: str, plan: config.Ablation, jobs: int) -> None:
    """Makes every run in an experiment of its own, `jobs` at a time, and forgets them again.

    What remains is the run-cache, from which `together` takes them. What all of them need is made
    first, so that no two make it at once; the cores are shared out among them.
    """
    shared = f"ablation-{name}-shared"
    forget(shared)
    dvc("exp", "run", "--temp", "-n", shared, *sweep(*plan.axes), "timestep")
    forget(shared)
    points = {f"ablation-{name}-{v}-{t}-{s}": (v, t, s) for v, t, s in product(*plan.axes)}
    for experiment in points.keys() - with_state("Queued", "Running"):
        forget(experiment)
        one = [[value] for value in points[experiment]]
        dvc("exp", "run", "--queue", "-n", experiment, *sweep(*one))
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    dvc("queue", "start", "-j", str(jobs), OMP_NUM_THREADS=threads)
    left = len(points) + 1
    while waiting := points.keys() & with_state("Queued", "Running"):
        if len(waiting) < left:
            left = len(waiting)
            print(f"ablate: {name}: {left} of {len(points)} runs left", flush=True)
        time.sleep(POLL)
    if failed := sorted(points.keys() & with_state("Failed")):
        raise AblationError(f"{', '.join(failed)} failed; see `dvc queue logs {failed[0]}`")
    for experiment in points:
        forget(experiment)


def with_state(*states: str) -> set[str]:
    """Experiments in DVC's queue that are Queued, Running, Success or Failed, by their newest try.

    A table of task, name, time and state, the newest task first.
    """
    command = [sys.executable, "-m", "dvc", "queue", "status"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    rows = [line.split() for line in said.splitlines()]
    newest = {row[1]: row[-1] for row in reversed(rows) if len(row) > 3}
    return {name for name, state in newest.items() if state in states}


def publish(name: str, settings: config.Config, revision: str) -> None:
    """Scores, spread over seeds, figure and README.md of an experiment."""
    plan, out = settings.ablations[name], OUT / name
    star = json.loads(git("show", f"{revision}:reports/timestep.json"))
    runs = [
        ablation.Run(
            name=run.name, variant=run.variant, asked=run.t, seed=run.seed,
            t=star["t"] if run.t == "auto" else int(run.t),
        )
        for run in plan.runs
    ]  # fmt: skip
    scores = frame(revision, "reports/scores.csv")
    composites = frame(revision, "reports/composite.csv").rename(columns={"composite": "value"})
    means = scores[scores["image"] == ""].drop(columns="image")
    summary = ablation.spread(composites, runs)
    paper = quoted.figure_4() if plan.table == 5 else None
    files.write_text(out / "scores.csv", scores.to_csv(index=False))
    files.write_text(out / "composite.csv", summary.round(6).to_csv(index=False))
    files.write_text(out / "spread.csv", ablation.spread(means, runs).round(6).to_csv(index=False))
    files.write_bytes(out / "scores.md", git("show", f"{revision}:reports/tables/scores.md"))
    plots.save(ablation.figure(summary, composites, runs, star, paper), out / "figure.png")
    said = [ablation.table(summary), "", *(f"- {x}" for x in ablation.verdict(composites, runs))]
    files.write_text(out / "README.md", "\n".join(readme(name, settings, star, said)) + "\n")


def readme(name: str, settings: config.Config, star: dict[str, Any], said: list[str]) -> list[str]:
    """What was compared, by which commit and settings, what came out, and what that says."""
    plan, commit = settings.ablations[name], git("rev-parse", "--short=12", "HEAD").decode().strip()
    changed = git("diff", "--name-only", "HEAD", "--", ".", ":!reports", ":!dvc.lock").decode()
    files_changed = f", with changes to {', '.join(changed.split())}" if changed.strip() else ""
    seeds = ", ".join(map(str, plan.seeds))
    lines = [
        f"# {plan.title}", "",
        f"`python -m stages.ablate {name}` at commit {commit}{files_changed}; profile "
        f"{settings.profile}, {settings.train.steps} steps, seeds {seeds}; t* = {star['t']} "
        f"(95 % interval {star['low']} to {star['high']}).",
        f"The runs: `dvc exp apply ablation-{name}` in a clean tree of that commit.", "",
        "Composite score (Eqs. 20-23) over the runs of this ablation: 1 is best and 0 worst in",
        "every metric among these runs, so it is not on one scale with another ablation's.", "",
        *said, "", "![Composite scores](figure.png)", "",
        "[Every metric](scores.md); `spread.csv` has its mean and spread over seeds, `scores.csv`",
        "every image.", "", "## What it does not show", "",
        *([f"- {tables.PIPELINE_ONLY}"] if settings.foundation.backbone == "mini" else []),
        *(f"- {text}" for text in plan.limits),
    ]  # fmt: skip
    return lines + (printed(plan.table) if plan.table else [])


def printed(number: int) -> list[str]:
    """The same composite over the paper's printed numbers, to compare orders."""
    scores = quoted.table(number)
    scores = scores[scores["metric"] != "composite"]
    lower = {name: metrics.traits(name).lower_better for name in scores["metric"].unique()}
    found = composite(scores, lower)
    average = found[found["benchmark"] == AVERAGE].set_index("run")["composite"].astype(float)
    average = average.sort_values(ascending=False)  # a run without every number comes last
    rows = [f"| {r} | {'–' if pd.isna(v) else f'{v:.3f}'} |" for r, v in average.items()]
    return ["", f"## The paper's Table {number}", "",
            "The same composite over its printed numbers (one seed).", "",
            "| run | average |", "|---|---:|", *rows]  # fmt: skip


def frame(revision: str, path: str) -> pd.DataFrame:
    """A CSV of an experiment; empty texts stay texts, values are numbers."""
    text = git("show", f"{revision}:{path}").decode()
    made = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    for name in {"value", "composite"} & set(made):
        made[name] = pd.to_numeric(made[name].replace("", None))
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m stages.ablate", description=main.__doc__)
    parser.add_argument("names", nargs="*", help="ablations of configs/<profile>.yaml; none is all")
    parser.add_argument("-j", "--jobs", type=int, default=0, help="runs at a time, by the queue")
    given = parser.parse_args()
    try:
        main(given.names, given.jobs)
    except (ValueError, OSError, AblationError) as error:
        sys.exit(f"ablate: {error}")

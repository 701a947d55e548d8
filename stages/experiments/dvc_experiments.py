"""Experiments of DVC as commands: one of many runs, or many by its queue. For ablate.py."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from stages import git

POLL = 2.0
"""Seconds between two looks at the queue, at first: each look starts DVC, a second of a core."""
SLOWEST = 20.0
"""Seconds between two looks where nothing has changed for a while."""
PATIENCE = 30.0
"""Seconds without any worker after which there is none: one that starts is not counted at once."""
TRIES = 5
"""Times that DVC is asked for the queue, which may be locked for a moment."""
WORKERS = re.compile(r"^Worker status: (\d+) active, (\d+) idle", re.MULTILINE)
Axes = Sequence[Sequence[Any]]
"""Variants, timesteps and seeds of a sweep."""


def dvc(*words: str, **environment: str) -> None:
    """Runs a command of DVC on the screen."""
    # The queue's workers look for `dvc` on the PATH.
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", *words]
    done = subprocess.run(command, check=False, env=os.environ | {"PATH": path, **environment})
    if done.returncode:
        raise ChildProcessError(f"`dvc {' '.join(words)}` failed with exit code {done.returncode}")


def options(axes: Axes) -> list[str]:
    """The options of `dvc exp run` that name the runs of a sweep."""
    named = zip(("variants", "timesteps", "seeds"), axes, strict=True)
    lists = [f"sweep.{axis}=[{','.join(map(str, values))}]" for axis, values in named]
    return [word for text in lists for word in ("-S", text)]


def together(experiment: str, axes: Axes) -> str:
    """Makes a sweep as one experiment in a temporary copy => its commit."""
    forget([experiment])
    dvc("exp", "run", "--temp", "-n", experiment, *options(axes))
    return git("rev-parse", "--verify", reference(experiment)).decode().strip()


def reference(experiment: str) -> str:
    """Where git keeps an experiment of DVC that started from HEAD."""
    head = git("rev-parse", "HEAD").decode().strip()
    return f"refs/exps/{head[:2]}/{head[2:]}/{experiment}"


def forget(experiments: Iterable[str]) -> None:
    """Removes earlier experiments of these names from the same commit; their runs stay cached."""
    pattern = reference("*").removesuffix("*")
    known = git("for-each-ref", "--format=%(refname)", pattern).decode().split()
    there = sorted({name.removeprefix(pattern) for name in known} & set(experiments))
    if there:
        dvc("exp", "remove", *there)


def side_by_side(name: str, axes: Axes, jobs: int) -> None:
    """Makes every run of a sweep in an experiment of its own, `jobs` at a time, and forgets them.

    What remains is the run-cache, from which `together` takes them. What all of them need is made
    first, so that no two make it at once; the cores are shared out among them. Where a run or a
    worker was killed, the same call again goes on.
    """
    shared = f"{name}-shared"
    forget([shared])
    dvc("exp", "run", "--temp", "-n", shared, *options(axes), "timestep")
    points = {"-".join([name, *map(str, one)]): one for one in product(*axes)}
    enqueue(points)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    dvc("queue", "start", "-j", str(jobs), OMP_NUM_THREADS=threads)
    wait(name, points.keys())
    forget([shared, *points])


def enqueue(points: dict[str, tuple[Any, ...]]) -> None:
    """Puts those experiments into DVC's queue that are not in it, each as far as its scores."""
    states, _ = status()
    there = {one for one in points if states.get(one) in ("Queued", "Running")}
    stuck = sorted(one for one in there if states[one] == "Running")
    if stuck and abandoned():
        dvc("queue", "kill", "-f", *stuck)
        there.difference_update(stuck)
    missing = sorted(points.keys() - there)
    if old := [one for one in missing if one in states]:
        dvc("queue", "remove", *old)  # else their state stands beside the new one
    forget(missing)
    for experiment in missing:
        run = points[experiment]
        target = f"score@{'-'.join(map(str, run))}"
        dvc("exp", "run", "--queue", "-n", experiment, *options([[v] for v in run]), target)


def abandoned() -> bool:
    """Whether the queue has had no worker for PATIENCE: killed ones leave their runs `Running`."""
    end = time.monotonic() + PATIENCE
    while status()[1] == 0:
        if time.monotonic() > end:
            return True
        time.sleep(POLL)
    return False


def wait(name: str, experiments: Iterable[str]) -> None:
    """Returns when all of them are done; raises ChildProcessError where one failed."""
    own = set(experiments)
    left, pause = len(own) + 1, POLL
    while True:
        states, workers = status()
        waiting = {one for one in own if states.get(one) in ("Queued", "Running")}
        if len(waiting) < left:
            left, pause = len(waiting), POLL
            print(f"{name}: {left} of {len(own)} runs left", flush=True)
        if not waiting:
            break
        if workers == 0 and abandoned():
            raise ChildProcessError(
                f"DVC's queue has {left} runs left and no worker: they were killed or stopped; the "
                "same command again goes on. What they said is in .dvc/tmp/exps/celery/*.out"
            )
        time.sleep(pause)
        pause = min(1.5 * pause, SLOWEST)
    if failed := sorted(one for one in own if states.get(one) == "Failed"):
        raise ChildProcessError(f"{', '.join(failed)} failed; see `dvc queue logs {failed[0]}`")


def status() -> tuple[dict[str, str], int]:
    """Experiments in DVC's queue, each with its state, and how many workers run.

    DVC prints a table of task, name, time and state, and a line of workers. What waits or runs is
    above what has ended, and failures are above successes: the first line of a name counts.
    """
    command = [sys.executable, "-m", "dvc", "queue", "status"]
    for _ in range(TRIES):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        counted = WORKERS.search(done.stdout)
        if counted:
            rows = [line.split() for line in done.stdout[: counted.start()].splitlines()[1:]]
            states = {row[1]: row[-1] for row in reversed(rows) if len(row) > 3}
            return states, sum(map(int, counted.groups()))
        time.sleep(POLL)
    raise ChildProcessError(f"`dvc queue status` failed: {done.stderr.strip() or done.stdout}")

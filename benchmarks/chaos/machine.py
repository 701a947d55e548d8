"""A clock that is set back, and memory that runs out."""

import os
import resource
import shutil
import sys
import time
from collections.abc import Iterator

import psutil

from benchmarks.chaos.damage import killed
from benchmarks.chaos.kills import Timeline, lasted
from benchmarks.chaos.outcome import Outcome, outcome
from benchmarks.chaos.project import RUN, Project
from benchmarks.chaos.running import Running

DAYS = 3
MORE = 1 << 22
"""Bytes that a stage may still take."""
HUNGRY = ("foundation", "degrade", "timestep", f"train@{RUN}", f"infer@{RUN}", f"score@{RUN}")
START = 1 << 30
"""Bytes that a whole run may take, which are too few to import torch."""


def clock_back(project: Project) -> Outcome:
    """A training that was killed goes on three days earlier."""
    killed(project)
    repro = (sys.executable, "-m", "dvc", "repro")
    if shutil.which("faketime"):
        words = ("faketime", "-f", f"-{DAYS}d", *repro)
        said, how = project.start(*words).end(), "faketime"
    else:
        later = time.time() + DAYS * 86400
        for path in project.folder.rglob("*"):
            os.utime(path, (later, later), follow_symlinks=False)
        said, how = project.repro(), "all files are of the future"
    return outcome(project, f"the clock {DAYS} days back in a training ({how})", said)


def no_memory(project: Project, line: Timeline) -> Iterator[Outcome]:
    """A stage gets no more memory, half-way; then a run that has too little from the start."""
    for stage in HUNGRY:
        project.reset("done")
        project.rewind(stage)
        running = project.start()
        running.reach(stage, lasted(line, stage) / 2)
        limit(running)
        yield outcome(project, f"no more memory in `{stage}`", running.end())
    project.reset("done")
    project.rewind("timestep")
    few = ("prlimit", f"--as={START}", sys.executable, "-m", "dvc", "repro")
    yield outcome(project, f"{START >> 20} MiB for a whole run", project.start(*few).end())


def limit(running: Running) -> None:
    """Holds a stage and its workers to what they have and MORE."""
    stage = running.stage()
    for process in [stage, *running.workers()] if stage else []:
        try:
            most = process.memory_info().vms + MORE
            resource.prlimit(process.pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        except (psutil.Error, ProcessLookupError):
            continue

"""Disks that are full, folders that cannot be written, and folders that are gone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.chaos.kills import Timeline, lasted
from benchmarks.chaos.outcome import Outcome, outcome
from benchmarks.chaos.project import RUN, Project

FULL = (
    "data", "foundation", "degrade", "timestep", f"train@{RUN}", f"infer@{RUN}",
    "baseline@bicubic", f"score@{RUN}", "report", "page", "record",
)  # fmt: skip
READ_ONLY = (
    ("data", "data"), ("work", "degrade"), ("reports", "timestep"), ("work", f"train@{RUN}"),
    ("runs", f"train@{RUN}"), ("runs", f"score@{RUN}"),
)  # fmt: skip
"""A folder, and the stage that writes into it."""
VANISHING = (
    ("work", "degrade"), ("work", f"train@{RUN}"), ("data/pairs", f"train@{RUN}"),
    ("data/pairs", f"infer@{RUN}"), ("foundation", "timestep"), ("runs", f"train@{RUN}"),
)  # fmt: skip
SIZE = 1 << 29
"""Bytes of the small disk, in memory."""
PAGE = 4096


class Refused(OSError):
    """Mounting is not allowed to this user."""


@contextmanager
def mounted(where: Path, *options: str | Path) -> Iterator[None]:
    """Mounts, and takes it away at the end; Refused where that is not allowed."""
    done = subprocess.run(["mount", *options, where], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused("mounting is refused here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", where], check=True)


def room(folder: Path) -> int:
    """Bytes that are free."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def fill(folder: Path, leave: int) -> Path:
    """Fills the disk of `folder` up to `leave` bytes; the file that does."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while (more := room(folder) - leave) >= PAGE:
            file.write(bytes(min(more // PAGE * PAGE, 1 << 24)))
    return ballast


def size(project: Project, stage: str) -> int:
    """Bytes that a stage has written in the uninterrupted run."""
    before = room(project.folder)
    project.rewind(stage)
    return max(room(project.folder) - before, 0)


def forget(project: Project) -> None:
    """Takes MLflow's store away, which `record` fills again."""
    for path in project.folder.glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree(project.folder / "mlartifacts", ignore_errors=True)


def full(project: Project) -> Iterator[Outcome]:
    """The disk has room for half of what a stage writes, from when it begins."""
    project.folder.mkdir(exist_ok=True)
    with mounted(project.folder, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs"):
        for stage in FULL:
            project.reset("done")
            if stage == "record":
                forget(project)
            leave = size(project, stage) // 2
            running = project.start()
            running.reach(stage)
            ballast = fill(project.folder, leave)
            said = running.end()
            ballast.unlink()
            yield outcome(project, f"disk full in `{stage}`", said)
    shutil.rmtree(project.folder)


def read_only(project: Project) -> Iterator[Outcome]:
    """A folder can be read and not written while a stage runs."""
    for name, stage in READ_ONLY:
        project.reset("done")
        project.rewind(stage)
        folder = project.folder / name
        folder.mkdir(exist_ok=True)
        with mounted(folder, "--bind", folder):
            subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
            said = project.repro()
        yield outcome(project, f"`{name}/` read-only in `{stage}`", said)


def pictured(folder: Path) -> bool:
    """Whether there is a picture at any depth."""
    return any(folder.rglob("[!.]*.png"))


def vanishing(project: Project, line: Timeline) -> Iterator[Outcome]:
    """A folder is deleted while a stage runs: half-way, or once `work` has a picture."""
    for name, stage in VANISHING:
        project.reset("done")
        project.rewind(stage)
        folder = project.folder / name
        running = project.start()
        if name == "work":
            running.until(partial(pictured, folder))
        else:
            running.reach(stage, lasted(line, stage) / 2)
        shutil.rmtree(folder, ignore_errors=True)
        yield outcome(project, f"`{name}/` deleted in `{stage}`", running.end())

"""DVC's queue with its workers killed, as the out-of-memory killer and `kill -9` do.

python -m pytest -m slow tests/stages/test_queue.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.stages.test_pipeline import Project, small

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "stages.experiments.ablate", "lrr", "-j", "1")


@pytest.fixture
def project(checkout: Path, tmp_path: Path) -> Iterator[Project]:
    """A project whose ablation is two runs, each with a checkpoint every second step."""
    made = small(checkout, tmp_path / "omgsr")
    path, yaml = made.folder / "configs/mini.yaml", YAML()
    values = yaml.load(path)
    values["ablations"]["lrr"].update(variants=["no_lrr", "full"], seeds=[0])
    values["train"].update(steps=60)
    yaml.dump(values, path)
    made.run("git", "commit", "-qam", "an ablation of two runs")
    yield made
    kill(made.folder, "stages.", "dvc")  # what a failed test leaves


def processes(folder: Path, *words: str) -> list[int]:
    """Processes that work below a folder and have one of the words in their command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_text().replace("\0", " ")
            inside = (entry / "cwd").readlink().is_relative_to(folder)
        except OSError:  # it has ended
            continue
        if inside and any(word in command for word in words):
            found.append(int(entry.name))
    return found


def kill(folder: Path, *words: str) -> None:
    for process in processes(folder, *words):
        os.kill(process, signal.SIGKILL)


def await_checkpoint(folder: Path, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 600
    while not list(folder.glob("work/train-*/checkpoint.pt")):
        assert running.poll() is None, (folder / "said.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="/proc names the processes")
def test_killed_workers_are_said_and_the_same_command_goes_on(project: Project) -> None:
    with (project.folder / "said.txt").open("w+") as said:
        running = subprocess.Popen(
            COMMAND, cwd=project.folder, env=project.env, stdout=said, stderr=subprocess.STDOUT
        )
        await_checkpoint(project.folder, running)
        kill(project.folder, "queue-worker", "exec-run", "stages.train")
        assert running.wait(timeout=300) == 1
        said.seek(0)
        assert "2 runs left and no worker: they were killed or stopped" in said.read()

    again = project.run(*COMMAND)
    assert "ablation-mini-lrr: 2 of 2 runs left" in again
    together = again[again.rindex("Reproducing experiment") :]
    assert "Running stage 'train" not in together
    assert (project.folder / "reports/ablations/mini/lrr/README.md").is_file()

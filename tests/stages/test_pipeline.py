"""The real pipeline by real DVC on a clone of this repository, at a very small scale.

python -m pytest -m slow tests/stages/test_pipeline.py
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from ruamel.yaml import YAML

pytestmark = pytest.mark.slow


class Project:
    """A clone with its own small profile, and DVC in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {"OMGSR_PYTHON": sys.executable, "DVC_NO_ANALYTICS": "true"}
        # The queue's workers look for `dvc` on the PATH, as they do for a user who activated .venv.
        self.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{self.env['PATH']}"
        self.env.pop("MLFLOW_TRACKING_URI", None)

    def run(self, *words: str, check: bool = True) -> str:
        """Output of a command, both streams; its failure is the test's."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.env, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout
        return f"{done.stdout}\nexit {done.returncode}" if not check else done.stdout

    def dvc(self, *words: str, check: bool = True) -> str:
        return self.run(sys.executable, "-m", "dvc", *words, check=check)

    def omgsr(self, *words: str) -> str:
        command = "import sys; from omgsr.cli import main; sys.exit(main())"
        return self.run(sys.executable, "-c", command, *words)

    def adapters(self, run: str = "full-auto-0") -> dict[str, str]:
        """sha256 of both adapter files."""
        found = sorted((self.folder / "runs" / run / "model").glob("*/adapter_model.safetensors"))
        assert len(found) == 2
        return {p.parent.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in found}

    def train_killed(self) -> str:
        """Trains again, killed after its first checkpoint; what the run that goes on says."""
        train = ["repro", "-f", "-s", "train@full-auto-0"]  # -f: the cache has this model
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *train],
            cwd=self.folder, env=self.env, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not list(self.folder.glob("work/train-*/checkpoint.pt")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (self.folder / "runs/full-auto-0/model").exists(), "killed too late to tell"
        return self.dvc(*train)

    def results(self) -> list[str]:
        """Names of the result runs in the one MLflow store, read anew each time.

        MLflow's client keeps its database open: of a store that was deleted and filled again it
        would go on to read the deleted one.
        """
        ask = (
            "select r.name from runs r join experiments e using (experiment_id)"
            " where e.name = 'omgsr' and r.lifecycle_stage = 'active' and r.status = 'FINISHED'"
        )
        with closing(sqlite3.connect(f"file:{self.folder}/mlflow.db?mode=ro", uri=True)) as store:
            return sorted(name for (name,) in store.execute(ask))


def small(checkout: Path, folder: Path) -> Project:
    """A clone of the working tree's HEAD with a profile of seconds."""
    subprocess.run(["git", "clone", "-q", str(checkout), str(folder)], check=True)
    shutil.rmtree(folder / "reports", ignore_errors=True)
    (folder / "dvc.lock").unlink(missing_ok=True)
    yaml, path = YAML(), folder / "configs/mini.yaml"
    values = yaml.load(path)
    values["data"]["train"].update(photographs=["astronaut", "coins"], dead_leaves=1)
    values["data"]["crops_per_image"] = 4
    for benchmark in values["benchmarks"].values():
        if benchmark["hq"].get("photographs"):
            benchmark["hq"]["photographs"] = ["chelsea"]
        else:
            benchmark["hq"]["dead_leaves"] = 1
    values["train"].update(steps=8, batch=2, checkpoint_every=2, log_every=1, preview_every=8)
    yaml.dump(values, path)
    project = Project(folder)
    project.run("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qam", "small")
    project.run("git", "config", "user.name", "t")
    project.run("git", "config", "user.email", "t@t")
    return project


@pytest.fixture(scope="module")
def project(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose first `dvc repro` is done and committed."""
    made = small(checkout, tmp_path_factory.mktemp("pipeline") / "omgsr")
    made.dvc("repro")
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "results")
    return made


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_first_repro_fills_everything_that_other_tools_read(project: Project) -> None:
    scores = read(project.folder / "reports/scores.csv")
    assert {row["run"] for row in scores} == {"full-auto-0", "bicubic"}
    assert {row["benchmark"] for row in scores} >= {"mini_standard", "mini_lq_leaves"}
    means = [row for row in scores if not row["image"]]
    assert means
    assert all(float(row["value"]) > 0 for row in means)
    found = json.loads((project.folder / "reports/timestep.json").read_text())
    assert found["low"] <= found["t"] <= found["high"]
    assert found["images"] == 12
    card = json.loads((project.folder / "runs/full-auto-0/model/omgsr.json").read_text())
    assert card["t"] == found["t"]
    assert card["t_source"] == "auto"
    assert project.results() == ["bicubic", "full-auto-0"]


def test_unchanged_repro_only_records(project: Project) -> None:
    said = project.dvc("repro")
    ran = [line for line in said.splitlines() if line.startswith("Running stage")]
    assert ran == ["Running stage 'record':"]
    assert project.results() == ["bicubic", "full-auto-0"]
    assert not project.run("git", "status", "--porcelain")


def test_deleted_store_is_filled_again(project: Project) -> None:
    (project.folder / "mlflow.db").unlink()
    shutil.rmtree(project.folder / "mlartifacts")
    project.dvc("repro")
    assert project.results() == ["bicubic", "full-auto-0"]


def test_killed_training_continues_to_the_same_bytes(project: Project) -> None:
    wanted = project.adapters()
    said = project.train_killed()
    assert "Running stage 'train@full-auto-0'" in said
    assert "| 0/8 [" not in said, "it started again instead of continuing"
    assert project.adapters() == wanted
    assert not list(project.folder.glob("work/train-*"))
    project.dvc("repro")


def test_timesteps_side_by_side_in_all_three_modes(project: Project) -> None:
    sweep = "sweep.timesteps=[999,273,1]"
    project.dvc("exp", "run", "-n", "here", "-S", sweep)
    composite = read(project.folder / "reports/composite.csv")
    assert {row["run"] for row in composite} == {"full-999-0", "full-273-0", "full-1-0"}
    averages = [float(r["composite"]) for r in composite if r["benchmark"] == "average"]
    assert len(averages) == 3
    assert all(0 <= value <= 1 for value in averages)
    three = ["bicubic", "full-1-0", "full-273-0", "full-999-0", "full-auto-0"]
    assert project.results() == three

    said = project.dvc("exp", "run", "--temp", "-n", "aside", "-S", sweep)
    assert "Running stage 'train" not in said, "the run-cache has these models"
    project.dvc("exp", "run", "--queue", "-n", "later", "-S", "sweep.timesteps=[600]")
    project.dvc("queue", "start")
    deadline = time.monotonic() + 300
    while "full-600-0" not in project.results():
        assert time.monotonic() < deadline, project.dvc("queue", "logs", "later", check=False)
        time.sleep(2)
    assert project.results() == sorted([*three, "full-600-0"])
    # A run's files outlive the temporary folder it was made in.
    stored = project.folder / "mlartifacts"
    assert len(list(stored.rglob("dvc.lock"))) == 6


def test_an_ablation_leaves_the_workspace_alone_and_trains_once(project: Project) -> None:
    """By the queue first, then again: both times the same files; nothing else changes."""
    path, yaml = project.folder / "configs/mini.yaml", YAML()
    values = yaml.load(path)
    values["ablations"]["lrr"].update(variants=["no_lrr", "full"], seeds=[0, 1])
    yaml.dump(values, path)
    project.run("git", "commit", "-qam", "a smaller ablation")
    before = project.run("git", "status", "--porcelain").splitlines()
    out = project.folder / "reports/ablations/mini/lrr"
    said = project.run(sys.executable, "-m", "stages.experiments.ablate", "lrr", "-j", "2")
    assert "ablation-mini-lrr: 4 of 4 runs left" in said
    together = said[said.rindex("Reproducing experiment") :]
    assert "Running stage 'train" not in together, "the queue has made these models"
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert {"README.md", "scores.csv", "scores.md", "composite.csv", "figure.png"} < set(first)
    assert b"with changes to" not in first["README.md"]
    assert b" \xc2\xb1 " in first["README.md"]
    after = project.run("git", "status", "--porcelain").splitlines()
    assert sorted({*after} - {*before}) == ["?? reports/ablations/"]
    assert "Running stage 'train" not in project.run(
        sys.executable, "-m", "stages.experiments.ablate", "lrr"
    )
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first


def test_corrupt_image_stops_with_its_name_and_heals(checkout: Path, tmp_path: Path) -> None:
    project = small(checkout, tmp_path / "omgsr")
    project.dvc("repro", "data")
    picture = project.folder / "data/source/images/chelsea.png"
    whole = picture.read_bytes()
    picture.unlink()  # DVC may have linked it to its cache
    picture.write_bytes(whole[: len(whole) // 2])
    said = project.dvc("repro", "-s", "-f", "degrade", check=False)
    assert "chelsea.png" in said
    assert "exit 0" not in said
    assert not (project.folder / "data/pairs").exists()
    picture.write_bytes(whole)
    project.dvc("repro", "degrade")
    assert (project.folder / "data/pairs/train.csv").exists()

"""A clone of this repository with a profile of a minute, which faults are done to."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.chaos.running import Running, Said

ROOT = Path(__file__).resolve().parents[2]
RUN = "full-auto-0"
SCALE: dict[str, Any] = {
    "data": {
        "train": {"photographs": ["astronaut", "camera"], "dead_leaves": 2},
        "crop": 96, "crops_per_image": 6, "scale": 4, "degradation": "realesrgan",
        "enlarge": "bicubic",
    },
    "benchmarks": {
        "small": {
            "hq": {"photographs": ["chelsea"]}, "crop": 192, "degradation": "light", "paired": True,
        },
        "small_lq": {
            "hq": {"dead_leaves": 2}, "crop": None, "degradation": "light", "paired": False,
        },
    },
    "train": {
        "steps": 24, "checkpoint_every": 3, "preview_every": 8, "gradient_norms_every": 6,
        "validation": {"images": 1, "pairs": 2, "every": 12, "metrics": ["psnr"]},
    },
}  # fmt: skip
"""What stands in place of profile mini's values; `train` is changed, the others replaced."""
RESULTS = ("data", "foundation", "runs", "reports")
NAMES = "select r.name from runs r join experiments e using (experiment_id) where e.name = 'omgsr'"
COMPLETE = f"{NAMES} and r.lifecycle_stage = 'active' and r.status = 'FINISHED'"
GIT = ("git", "-c", "user.name=chaos", "-c", "user.email=chaos@localhost")
Digests = dict[str, str]


def digests(folder: Path) -> Digests:
    """SHA-256 of every result below `folder`."""
    paths = sorted(p for top in RESULTS for p in (folder / top).rglob("*") if p.is_file())
    named = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: sha256(data).hexdigest() for name, data in named.items()}


def departures(wanted: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """The files that differ, are missing, or are there beside what is wanted."""
    return sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))


class Project:
    """A workspace that is always at the same place, as MLflow's store names its folder."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.folder = top / "omgsr"
        self.wanted: Digests = {}
        self.recorded: list[str] = []
        own = {"OMGSR_PYTHON": sys.executable, "DVC_SITE_CACHE_DIR": str(top / "site")}
        self.env = os.environ | own | {"DVC_NO_ANALYTICS": "true", "TMPDIR": str(top / "tmp")}
        for name in ("MLFLOW_TRACKING_URI", "OMGSR_LAUNCH", "OMGSR_DEVICES", "DVC_ROOT"):
            self.env.pop(name, None)
        (top / "tmp").mkdir(parents=True, exist_ok=True)

    def clone(self) -> None:
        """Makes the state `clean`: HEAD and the working tree's changes, with the small profile."""
        run = subprocess.run
        run([*GIT, "clone", "-q", ROOT, self.folder], check=True)
        changed = run(["git", "diff", "--binary", "HEAD"], cwd=ROOT, stdout=-1, check=True).stdout
        if changed:
            run([*GIT, "apply", "-"], cwd=self.folder, input=changed, check=True)
        (self.folder / "dvc.lock").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "reports", ignore_errors=True)
        self._scale()
        run([*GIT, "commit", "-qam", "small"], cwd=self.folder, check=True)
        self.save("clean")

    def _scale(self) -> None:
        yaml, params = YAML(), self.folder / "params.yaml"
        path = self.folder / "configs/mini.yaml"
        values, science = yaml.load(path), yaml.load(params)
        values.update(SCALE | {"train": values["train"] | SCALE["train"]})
        science["sweep"].update(variants=["full"], timesteps=["auto"], methods=["bicubic"])
        yaml.dump(values, path)
        yaml.dump(science, params)

    def save(self, state: str) -> None:
        """Keeps the workspace as it is under a name."""
        subprocess.run(["cp", "-a", self.folder, self.top / state], check=True)

    def reset(self, state: str) -> None:
        """Puts a kept state in place of what is there."""
        self.folder.mkdir(exist_ok=True)
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        shutil.rmtree(self.top / "site", ignore_errors=True)
        subprocess.run(["cp", "-a", f"{self.top / state}/.", self.folder], check=True)

    def start(self, *words: str, **environment: str) -> Running:
        """Starts a program in the workspace, by default `dvc repro`."""
        command = words or (sys.executable, "-m", "dvc", "repro")
        return Running(command, self.folder, self.env | environment)

    def repro(self, *words: str, **environment: str) -> Said:
        """Runs `dvc repro` to its end."""
        return self.start(sys.executable, "-m", "dvc", "repro", *words, **environment).end()

    def rewind(self, stage: str) -> None:
        """Back to before `stage` ran: without its outputs and what DVC knows of it."""
        yaml, path = YAML(), self.folder / "dvc.lock"
        values = yaml.load(path)
        for out in values["stages"].pop(stage).get("outs", []):
            target = self.folder / out["path"]
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        yaml.dump(values, path)
        shutil.rmtree(self.folder / ".dvc/cache/runs", ignore_errors=True)

    def departed(self) -> list[str]:
        """What differs from the uninterrupted run."""
        return departures(self.wanted, digests(self.folder))

    def records(self, ask: str = COMPLETE, folder: Path | None = None) -> list[str]:
        """Names of the results in the store of the workspace, or of another folder."""
        path = (folder or self.folder) / "mlflow.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            try:
                return sorted(name for (name,) in store.execute(ask))
            except sqlite3.Error:
                return []

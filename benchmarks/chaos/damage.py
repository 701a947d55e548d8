"""One flipped bit, as a disk or a memory flips it: the time of the file stays as it was."""

import os
import random
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ruamel.yaml import YAML

from benchmarks.chaos.outcome import Outcome, outcome, plain
from benchmarks.chaos.project import RUN, Project
from benchmarks.chaos.running import Said

ADAPTER = f"runs/{RUN}/model/unet_lora_adapter/adapter_model.safetensors"
PLACES = {
    "foundation weights": ("timestep", "foundation/**/unet/*.safetensors"),
    "an adapter": (f"infer@{RUN}", ADAPTER),
    "a degraded training image": (f"train@{RUN}", "data/pairs/train/lq/*.png"),
    "a degraded test image": (f"infer@{RUN}", "data/pairs/small/lq/*.png"),
    "a restored image": (f"score@{RUN}", f"runs/{RUN}/sr/small/*.png"),
    "a table": ("page", "reports/scores.csv"),
}
"""What a bit is flipped in, with the stage that reads it and the pattern of the file."""


def flip(path: Path, choice: random.Random, first: int = 0, last: int | None = None) -> None:
    """Flips one bit between two bytes; length, rights and time of the file stay."""
    about = path.stat()
    data = bytearray(path.read_bytes())
    data[choice.randrange(first, last or len(data))] ^= 1 << choice.randrange(8)
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(about.st_mode)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def flipped(project: Project, seed: int) -> Iterator[Outcome]:
    """A bit in each kind of file, before the stage that reads it."""
    choice = random.Random(f"flips {seed}")
    for name, (stage, pattern) in PLACES.items():
        project.reset("done")
        project.repro()  # DVC knows the files by their times
        project.rewind(stage)
        path = sorted(project.folder.glob(pattern))[0]
        half = path.stat().st_size // 2
        flip(path, choice, half, half + half // 2)
        found = outcome(project, f"a bit of {name}, read by `{stage}`", project.repro())
        yield verified(project, found)
    yield verified(project, cache(project, choice))
    yield checkpoint(project, choice)
    yield store(project, choice)


def verified(project: Project, found: Outcome) -> Outcome:
    """What `make verify` finds where DVC, which knows files by their times, has not looked."""
    if not found.departed:
        return found
    said = project.start(sys.executable, "-m", "stages.verify").end()
    line = next((one for one in said.text.splitlines() if "rm -f" in one), "")
    damaged, readers = told(line)
    for name in damaged:
        (project.folder / name).unlink()
    again = project.repro()
    if readers:
        project.repro("-fs", *readers)
        again = project.repro()
    after = f"{found.after}; after `make verify` and what it said: {again.code}"
    return replace(
        found, said=found.said or plain(project, line), after=after,
        traceback=said.traceback or again.traceback, departed=tuple(project.departed()),
    )  # fmt: skip


def told(line: str) -> tuple[list[str], list[str]]:
    """What `make verify` says to delete, and which stages to run again whatever DVC thinks."""
    deleted = re.search(r"rm -f (.+?) && dvc repro", line)
    again = re.search(r"dvc repro -fs (.+?) && dvc repro", line)
    first, second = (shlex.split(found[1]) if found else [] for found in (deleted, again))
    return first, second


def cache(project: Project, choice: random.Random) -> Outcome:
    """In DVC's cache, from which a deleted file is to come back."""
    project.reset("done")
    lock = YAML(typ="safe").load(project.folder / "dvc.lock")
    (found,) = [o for o in lock["stages"][f"train@{RUN}"]["outs"] if o["path"].endswith("/model")]
    listing = cached(project, found["md5"]).read_text()
    entry = next(one for one in YAML(typ="safe").load(listing) if one["relpath"] in ADAPTER)
    path = cached(project, entry["md5"])
    flip(path, choice, path.stat().st_size // 2)
    (project.folder / ADAPTER).unlink()
    return outcome(project, "a bit of DVC's cache, for a deleted adapter", project.repro())


def cached(project: Project, md5: str) -> Path:
    """The file of DVC's cache with this digest."""
    return project.folder / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def checkpoint(project: Project, choice: random.Random) -> Outcome:
    """In the checkpoint of a training that was killed."""
    killed(project)
    (path,) = project.folder.glob("work/train-*/checkpoint.pt")
    flip(path, choice, path.stat().st_size // 2)
    return outcome(project, "a bit of a training's checkpoint", project.repro())


def killed(project: Project) -> Said:
    """A training that was killed after its first checkpoint."""
    project.reset("done")
    project.rewind(f"train@{RUN}")
    running = project.start()
    running.until(lambda: any(project.folder.glob("work/train-*/checkpoint.pt")))
    running.kill_tree()
    return Said(-9, running.text())


def store(project: Project, choice: random.Random) -> Outcome:
    """In the first bytes of MLflow's store, by which SQLite knows its files."""
    project.reset("done")
    flip(project.folder / "mlflow.db", choice, 0, 16)
    said = project.repro()
    return outcome(project, "a bit of `mlflow.db`", said)

"""Runs the pipeline's stages on a small version of profile mini and digests what each has made.

    python -m tests.golden.chain            compare with the committed digests
    python -m tests.golden.chain --write    take what this machine gives as the digests

Whatever oneDNN, MKL, torch, NumPy, OpenBLAS and OpenCV would choose here is set as `exact` sets it,
before they are loaded. The first link that departs says where a machine differs; those after it
follow from it. Exit code 1 if one departs.
"""

import hashlib
import json
import math
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from omgsr.core import exact

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = Path(__file__).with_name("digests.json")
RUN = "full-auto-0"
SCALE: dict[str, Any] = {
    "data": {
        "train": {"photographs": ["astronaut", "camera"], "dead_leaves": 1},
        "crop": 96, "crops_per_image": 1, "scale": 4, "degradation": "realesrgan",
        "enlarge": "bicubic",
    },
    "benchmarks": {
        "small": {
            "hq": {"photographs": ["chelsea"]}, "crop": 192, "degradation": "light", "paired": True,
        },
    },
    "train": {"steps": 3, "validation": None, "preview_every": 3, "checkpoint_every": 3},
}  # fmt: skip
"""What the chain has in place of profile mini's values; `train` is changed, the others replaced."""
LINKS: Mapping[str, Sequence[str]] = {
    "images": ["data/source"],
    "foundation": ["foundation"],
    "degraded images": ["data/pairs"],
    "latent moments": ["data/moments.csv"],
    "t*": ["reports/timestep.json"],
    "figure": ["reports/timestep.png"],
    "three training steps": [f"runs/{RUN}/model", f"runs/{RUN}/train/history.csv"],
    "restored pictures": [f"runs/{RUN}/sr"],
    "scores": [f"runs/{RUN}/scores.csv"],
}
"""Links of the chain in their order, with the files that each has made."""


def prepare(folder: Path) -> None:
    """Writes params.yaml and the small profile into `folder`."""
    yaml = YAML(typ="safe", pure=True)
    params = yaml.load((ROOT / "params.yaml").read_text())
    scale = yaml.load((ROOT / "configs/mini.yaml").read_text())
    scale |= SCALE | {"train": scale["train"] | SCALE["train"]}
    params["sweep"]["methods"] = ["bicubic"]
    (folder / "configs").mkdir()
    for path, values in (("params.yaml", params), ("configs/mini.yaml", scale)):
        with (folder / path).open("w") as file:
            yaml.dump(values, file)


def run() -> None:
    """Runs the stages in this process, in the working directory."""
    from stages import data, degrade, foundation, infer, resolve, score, timestep, train
    from stages.tracking import live

    live.OFTEN = math.inf  # no run in a store
    calls: list[tuple[Callable[..., None], Sequence[str]]] = [
        (data.main, ()), (foundation.main, ()), (degrade.main, ()), (timestep.main, ()),
        (resolve.main, ("full", "auto", "0")), (train.main, ("full", "auto", "0")),
        (infer.main, (RUN,)), (score.main, (RUN,)),
    ]  # fmt: skip
    for main, words in calls:
        exact.settle()
        main(*words)


def digests(folder: Path) -> dict[str, str]:
    """A digest of what each link has made below `folder`."""
    return {link: _digest(folder, paths) for link, paths in LINKS.items()}


def _digest(folder: Path, paths: Sequence[str]) -> str:
    total = hashlib.sha256()
    for path in files_of(folder, paths):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0")
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:16]


def files_of(folder: Path, paths: Sequence[str]) -> Iterator[Path]:
    """The files of `paths` below `folder`, those inside folders in sorted order."""
    for path in paths:
        whole = folder / path
        yield from sorted(p for p in whole.rglob("*") if p.is_file()) if whole.is_dir() else [whole]


def compare(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """The links that depart, the first of them first."""
    return [link for link in LINKS if found[link] != expected.get(link)]


def main(words: Sequence[str]) -> int:
    """Runs the chain in a temporary folder and prints a line for every link."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepare(folder)
        os.chdir(folder)
        os.environ.update(exact.ENVIRONMENT | {"DVC_ROOT": name, "OMP_NUM_THREADS": "1"})
        run()
        os.chdir(ROOT)
        found = digests(folder)
    if "--write" in words:
        EXPECTED.write_text(json.dumps(found, indent=2) + "\n")
    departs = compare(found, json.loads(EXPECTED.read_text()))
    for link, digest in found.items():
        print(f"{'departs' if link in departs else 'the same':8}  {digest}  {link}")
    return 1 if departs else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

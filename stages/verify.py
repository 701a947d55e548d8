"""Reads every result again: python -m stages.verify (make verify).

DVC knows files by size and time, so a bit that a disk has flipped passes. This compares the bytes
of all outputs, and of what DVC's cache keeps of them, with dvc.lock. What departs is named, with
the command that brings it back; the exit code is then 1.
"""

import hashlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tqdm import tqdm

from stages import call

LOCK = Path("dvc.lock")


def main() -> None:
    """Prints what is damaged; outputs that are not there are no damage, as DVC sees them."""
    outputs = list(recorded())
    known = {*(md5 for _, md5 in outputs), *(md5 for _, md5 in outs())}
    kept = [(cached(md5), md5) for md5 in sorted(known)]
    there = {path: md5 for path, md5 in outputs + kept if path.is_file()}
    bar = tqdm(there.items(), desc="verify", unit="file")
    damaged = [path.as_posix() for path, md5 in bar if of(path) != md5.removesuffix(".dir")]
    if damaged:
        raise ValueError(
            f"{len(damaged)} of {len(there):,} files are not what a stage wrote; delete them and "
            f"run it again: rm -f {shlex.join(damaged)} && dvc repro" + wrong(readers(damaged))
        )
    print(f"All {len(there):,} files are what the stages wrote.")
    for path in unlisted():
        print(f"Not looked at, as DVC's cache does not have the list of its files: {path}/")


def readers(damaged: list[str]) -> list[str]:
    """The stages that read any of these files."""
    return [
        name
        for name, stage in stages().items()
        for dep in stage.get("deps", [])
        if any(path == dep["path"] or path.startswith(f"{dep['path']}/") for path in damaged)
    ]


def wrong(names: list[str]) -> str:
    """What to do about results that were made from a damaged file; '' where there are none."""
    if not names:
        return ""
    again = f"dvc repro -fs {shlex.join(dict.fromkeys(names))} && dvc repro"
    return f"; if stages have run since the damage, their results too: {again}"


def unlisted() -> list[Path]:
    """Folders that are there, and of whose files nothing is known."""
    folders = [(path, md5) for path, md5 in outs() if md5.endswith(".dir") and path.is_dir()]
    return [path for path, md5 in folders if not cached(md5).is_file()]


def recorded() -> Iterator[tuple[Path, str]]:
    """Every file of the outputs with its MD5; a folder without a whole list is left out."""
    for path, md5 in outs():
        if not md5.endswith(".dir"):
            yield path, md5
        elif cached(md5).is_file() and of(cached(md5)) == md5.removesuffix(".dir"):
            for entry in json.loads(cached(md5).read_bytes()):
                yield path / entry["relpath"], entry["md5"]


def outs() -> list[tuple[Path, str]]:
    """Outputs of all stages with the MD5 that dvc.lock has."""
    found = [out for stage in stages().values() for out in stage.get("outs", [])]
    return [(Path(out["path"]), out["md5"]) for out in found]


@cache
def stages() -> dict[str, dict[str, Any]]:
    """The stages of dvc.lock."""
    if not LOCK.is_file():
        raise FileNotFoundError(f"{LOCK} is missing: nothing was made here; run `dvc repro`")
    found: dict[str, dict[str, Any]] = YAML(typ="safe").load(LOCK)["stages"]
    return found


def cached(md5: str) -> Path:
    """Where DVC's cache has a file, or the list of a folder."""
    return store() / md5[:2] / md5[2:]


@cache
def store() -> Path:
    """The folder of DVC's cache, which may lie elsewhere (`dvc cache dir`)."""
    asked = [sys.executable, "-m", "dvc", "cache", "dir"]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    folder = Path(said.strip()).resolve() / "files" / "md5"
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def of(path: Path) -> str:
    """The MD5 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "md5").hexdigest()


if __name__ == "__main__":
    call(main)

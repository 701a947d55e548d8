"""What a result was made with: the sha256 of weights, the code of rooms, packages and inputs."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def sha256(path: Path | str) -> str:
    """Of a file's bytes, or of the names and bytes of every file in a folder, in sorted order."""
    path = Path(path)
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        lines = [f"{sha256(p)}  {p.relative_to(path).as_posix()}\n" for p in inside]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def work_name(rooms: Sequence[str], packages: Sequence[str], inputs: Iterable[str]) -> str:
    """16 hex digits of all that decides a result: code of rooms, packages and what goes in.

    They name the folder of finished work, which a killed run finds again if none of it has changed.
    """
    digest = hashlib.sha256()
    for room in rooms:
        for path in sorted((Path(__file__).parents[1] / room).rglob("*.py")):
            digest.update(path.read_bytes())
    for text in (*(f"{name} {_version(name)}" for name in packages), *inputs):
        digest.update(f"{text}\n".encode())
    return digest.hexdigest()[:16]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""

"""The sha256 of weights, so that a number can be traced to the file it was made with."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(path: Path | str) -> str:
    """Of a file's bytes, or of the names and bytes of every file in a folder, in sorted order."""
    path = Path(path)
    if path.is_dir():
        inside = sorted(p for p in path.rglob("*") if p.is_file())
        names = [p.relative_to(path).as_posix() for p in inside]
        lines = [f"{sha256(p)}  {name}\n" for p, name in zip(inside, names, strict=True)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

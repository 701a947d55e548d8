"""What a result was made with: the sha256 of weights, and the code of rooms."""

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


def code(*rooms: str) -> list[Path]:
    """The Python files of these rooms of the package, sorted: what a kept result depends on."""
    package = Path(__file__).parents[1]
    return [path for room in rooms for path in sorted((package / room).rglob("*.py"))]

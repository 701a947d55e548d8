"""Benchmarks by someone else: the outputs of another program for the rows of a manifest."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from omgsr.core import files, images
from omgsr.data.manifest import Row


class OutputsError(ValueError):
    """A folder of outputs that does not fit the benchmark; the message says how to mend it."""


def copy(folder: Path, rows: Sequence[Row], scale: int, out: Path) -> Iterator[str]:
    """Copies <folder>/<name>.png, which another program made, for every row; yields the names.

    Raises OutputsError when a name or a size differs from the benchmark's, before the first file.
    """
    if not folder.is_dir():
        beside = sorted(p.name for p in folder.parent.glob("*") if p.is_dir())
        holds = f"; {folder.parent} holds {', '.join(beside[:5])}" if beside else ""
        raise OutputsError(f"{folder}: no such folder; name it as the benchmark{holds}")
    _check_names(folder, rows)
    for row in rows:
        _check_size(folder / f"{row.name}.png", row, scale)
    for row in rows:
        files.write_bytes(out / f"{row.name}.png", (folder / f"{row.name}.png").read_bytes())
        yield row.name


def _check_names(folder: Path, rows: Sequence[Row]) -> None:
    wanted = {f"{row.name}.png" for row in rows}
    present = {path.name for path in folder.iterdir() if path.suffix.lower() in images.EXTENSIONS}
    for names, what in (
        (wanted - present, "lacks"),
        (present - wanted, "holds images that the benchmark does not list:"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:3])
            raise OutputsError(
                f"{folder}: {what} {len(names)} of {len(wanted)}, such as {shown}; names are those "
                "of the benchmark's images, with .png"
            )


def _check_size(path: Path, row: Row, scale: int) -> None:
    height, width = (side * scale for side in images.read_size(row.lq))
    found = images.read_rgb(path).shape[:2]
    if found != (height, width):
        raise OutputsError(
            f"{path}: is {found[0]} x {found[1]} pixels, but {scale} times its LQ image is "
            f"{height} x {width}; make the outputs anew at that size"
        )

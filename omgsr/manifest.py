"""Lists of images: rows (name, HQ, LQ, crop box) and their CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omgsr import files, images


class ManifestError(ValueError):
    """A manifest that cannot be used; the message names the file and the line."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image of a set. Paths are absolute or relative to the workspace; '' stands for absent."""

    name: str
    """Unique in its set, usable as a file name."""
    hq: str = ""
    """Path of the high-quality image, '' where none exists."""
    lq: str = ""
    """Path of the low-quality image, '' before the `degrade` stage."""
    top: int = 0
    """First line of the crop, pixels of the HQ."""
    left: int = 0
    """First column of the crop, pixels of the HQ."""
    height: int = 0
    """Lines of the crop, pixels of the HQ; 0 is the whole image."""
    width: int = 0
    """Columns of the crop, pixels of the HQ; 0 is the whole image."""


COLUMNS = tuple(field.name for field in fields(Row))
_NUMBERS = ("top", "left", "height", "width")


def write(path: Path | str, rows: Iterable[Row]) -> None:
    """Writes the CSV, whole or not at all; two rows of one name are refused."""
    rows = list(rows)
    _check_names(path, [row.name for row in rows])
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    files.write_text(path, text.getvalue())


def read(path: Path | str) -> list[Row]:
    """Reads the CSV that `write` writes."""
    reader = csv.DictReader(io.StringIO(files.read_text(path)))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ManifestError(
            f"{path}: the columns must be {','.join(COLUMNS)}, got {reader.fieldnames}"
        )
    rows = [_parse(path, number, record) for number, record in enumerate(reader, start=2)]
    if not rows:
        raise ManifestError(f"{path}: lists no image")
    _check_names(path, [row.name for row in rows])
    return rows


def spread(rows: Sequence[Row], count: int | None) -> list[Row]:
    """`count` rows at equal distances over the whole list; all of them where it has no more."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def load_hq(row: Row) -> NDArray[np.uint8]:
    """The HQ crop of a row: uint8 (H, W, 3)."""
    if not row.hq:
        raise ManifestError(f"{row.name}: has no HQ image; it belongs to an LQ-only set")
    image = images.read_rgb(row.hq)
    if not row.height and not row.width:
        return image
    bottom, right = row.top + row.height, row.left + row.width
    if bottom > image.shape[0] or right > image.shape[1]:
        raise ManifestError(
            f"{row.hq}: the crop ends at line {bottom}, column {right}, the image has "
            f"{image.shape[0]} x {image.shape[1]}; run `dvc repro -f data` to list it anew"
        )
    return image[row.top : bottom, row.left : right]


def load_lq(row: Row) -> NDArray[np.uint8]:
    """The LQ image of a row: uint8 (H, W, 3)."""
    if not row.lq:
        raise ManifestError(f"{row.name}: has no LQ image; the `degrade` stage writes it")
    return images.read_rgb(row.lq)


def _parse(path: Path | str, number: int, record: dict[str, str]) -> Row:
    try:
        numbers = {key: int(record[key]) for key in _NUMBERS}
    except (TypeError, ValueError) as error:
        raise ManifestError(
            f"{path}, line {number}: {', '.join(_NUMBERS)} must be whole numbers, got {record}"
        ) from error
    if min(numbers.values()) < 0 or bool(numbers["height"]) != bool(numbers["width"]):
        raise ManifestError(f"{path}, line {number}: not a crop box: {numbers}")
    return Row(name=record["name"], hq=record["hq"], lq=record["lq"], **numbers)


def _check_names(path: Path | str, names: list[str]) -> None:
    bad = [name for name in names if not name or "/" in name or "\\" in name or name[0] == "."]
    if bad:
        raise ManifestError(f"{path}: {bad[0]!r} cannot name a file")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ManifestError(f"{path}: names must be unique, repeated: {repeated[:5]}")

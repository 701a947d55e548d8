"""Lists of images: rows (name, HQ, LQ, reduction, crop box), their CSV and their pixels."""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omgsr.core import files, images
from omgsr.core.image_files import ImageError
from omgsr.data.presets import MODES


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One image of a set. Paths are absolute or relative to the workspace; '' stands for absent.

    The crop counts in pixels of the reduced HQ, from its first line and column; a height and width
    of 0 are the whole image.
    """

    name: str
    """Unique in its set, usable as a file name."""
    hq: str = ""
    lq: str = ""
    """'' before the `degrade` stage."""
    resize: int = 0
    """Shorter side that the HQ is reduced to before anything else, pixels; 0 leaves it."""
    top: int = 0
    left: int = 0
    height: int = 0
    width: int = 0
    enlarged: str = ""
    """Where the LQ file is x_L, of the HQ's size: the mode that enlarged the LQ before it was
    rounded, one of MODES. '' where the file is the LQ."""


COLUMNS = tuple(field.name for field in fields(Row))
_PLAIN = COLUMNS[:-1]  # of a set in which no row is enlarged
_NUMBERS = ("resize", "top", "left", "height", "width")
_LONGEST = 200
"""Bytes of a name: files add endings to it, and most file systems end at 255."""


def write(path: Path | str, rows: Iterable[Row]) -> None:
    """Writes the CSV, whole or not at all; two rows of one name are refused."""
    rows = list(rows)
    _check_names(path, [row.name for row in rows])
    text = io.StringIO()
    columns = COLUMNS if any(row.enlarged for row in rows) else _PLAIN
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    files.write_text(path, text.getvalue())


def read(path: Path | str) -> list[Row]:
    """Reads the CSV that `write` writes."""
    reader = csv.DictReader(io.StringIO(files.read_text(path)))
    if tuple(reader.fieldnames or ()) not in (COLUMNS, _PLAIN):
        raise ImageError(
            f"{path}: the columns must be {','.join(_PLAIN)} and, where LQ are enlarged, "
            f"{COLUMNS[-1]}, got {reader.fieldnames}"
        )
    rows = [_parse(path, number, record) for number, record in enumerate(reader, start=2)]
    if not rows:
        raise ImageError(f"{path}: lists no image")
    _check_names(path, [row.name for row in rows])
    return rows


def spread(rows: Sequence[Row], count: int | None) -> list[Row]:
    """`count` rows at equal distances over the whole list; all of them where it has no more."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[i * len(rows) // count] for i in range(count)]


def hq_size(row: Row) -> tuple[int, int]:
    """Height and width of the reduced HQ before its crop, pixels, from the file's header."""
    return reduced(images.read_size(row.hq), row.resize)


def reduced(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Height and width with the shorter one reduced to `side`; smaller sizes and side 0 stay."""
    shorter = min(size)
    if not side or shorter <= side:
        return size
    height, width = (max(side, round(length * side / shorter)) for length in size)
    return height, width


def load_whole_hq(row: Row) -> NDArray[np.uint8]:
    """The HQ image of a row without its crop, reduced by Lanczos: uint8 (H, W, 3)."""
    if not row.hq:
        raise ImageError(f"{row.name}: has no HQ image; it belongs to an LQ-only set")
    image = images.read_rgb(row.hq)
    height, width = reduced(image.shape[:2], row.resize)
    if (height, width) == image.shape[:2]:
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def load_hq(row: Row) -> NDArray[np.uint8]:
    """The HQ crop of a row: uint8 (H, W, 3)."""
    image = load_whole_hq(row)
    if not row.height and not row.width:
        return image
    bottom, right = row.top + row.height, row.left + row.width
    if bottom > image.shape[0] or right > image.shape[1]:
        raise ImageError(
            f"{row.hq}: the crop ends at line {bottom}, column {right}, the image has "
            f"{image.shape[0]} x {image.shape[1]}; run `dvc repro -f data` to list it anew"
        )
    return image[row.top : bottom, row.left : right]


def load_lq(row: Row) -> NDArray[np.uint8]:
    """The LQ image of a row, x_L where it is enlarged: uint8 (H, W, 3)."""
    if not row.lq:
        raise ImageError(f"{row.name}: has no LQ image; the `degrade` stage writes it")
    return images.read_rgb(row.lq)


def _parse(path: Path | str, number: int, record: dict[str, str]) -> Row:
    try:
        numbers = {key: int(record[key]) for key in _NUMBERS}
    except (TypeError, ValueError) as error:
        raise ImageError(
            f"{path}, line {number}: {', '.join(_NUMBERS)} must be whole numbers, got {record}"
        ) from error
    if min(numbers.values()) < 0 or bool(numbers["height"]) != bool(numbers["width"]):
        raise ImageError(f"{path}, line {number}: not a crop box: {numbers}")
    enlarged = record.get("enlarged") or ""
    if enlarged not in ("", *MODES):
        raise ImageError(
            f"{path}, line {number}: enlarged: got {enlarged!r}, allowed: {', '.join(MODES)} or "
            "nothing; run `dvc repro -f degrade`"
        )
    return Row(name=record["name"], hq=record["hq"], lq=record["lq"], enlarged=enlarged, **numbers)


def _check_names(path: Path | str, names: list[str]) -> None:
    bad = [name for name in names if not _usable(name)]
    if bad:
        raise ImageError(
            f"{path}: {bad[0]!r} cannot name a file of ours; allowed: up to {_LONGEST} bytes of "
            "UTF-8 without / or \\, the first of them no dot; rename the image"
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ImageError(f"{path}: names must be unique, repeated: {repeated[:5]}")


def _usable(name: str) -> bool:
    """Whether a file of this name stays in its folder."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # Linux has names that are no text
        return False
    strange = any(character in "/\\" or ord(character) < 32 for character in name)
    return 0 < size <= _LONGEST and name[0] != "." and not strange

"""Which image files a folder or a list of files names; a list is .txt, .json or .parquet."""

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.core.wording import some


def files(path: Path) -> tuple[Path, list[Path]]:
    """(root, files below it as relative paths in sorted order) of a folder or a list.

    The root of a list is the deepest folder above all of its files, so that a folder and the list
    of its files are the same. Paths in a list are absolute or count from the list's own folder.
    """
    read = _READERS.get(path.suffix.lower())
    if path.is_dir() or (read is None and not path.exists()):
        return path, [file.relative_to(path) for file in images.list_images(path)]
    if read is None:
        raise ImageError(f"{path}: neither a folder nor a list ({', '.join(_READERS)})")
    if not path.is_file():
        raise ImageError(f"{path}: no such list of files")
    named = read(path)
    if not named:
        raise ImageError(f"{path}: lists no file")
    found = _existing(path, named)
    root = os.path.commonpath([os.path.dirname(file) for file in found])
    return Path(root), sorted(Path(os.path.relpath(file, root)) for file in found)


def _existing(path: Path, named: Sequence[object]) -> list[str]:
    """Absolute paths, each of them once; '..' is taken out, links are not followed."""
    bad = [name for name in named if not isinstance(name, str) or not name or "\0" in name]
    if bad:
        raise ImageError(
            f"{path}: {len(bad):,} of {len(named):,} entries are no path, such as {bad[0]!r}"
        )
    found = [os.path.normpath(path.parent / str(name)) for name in named]
    twice = [name for name, count in Counter(found).items() if count > 1]
    if twice:
        raise ImageError(f"{path}: lists {some(twice)} more than once; keep one entry of each")
    missing = [name for name in found if not os.path.isfile(name)]
    if missing:
        raise ImageError(
            f"{path}: {len(missing):,} of {len(found):,} listed files do not exist: "
            f"{some(missing)}; relative paths start at the list's folder and have / between "
            "folders: move the list there, or correct it"
        )
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise ImageError(f"{path}: is not UTF-8 ({error.reason}); save it as UTF-8") from error


def _lines(path: Path) -> list[str]:
    """Lines of a text; blank ones and those that start with # are left out."""
    lines = (line.strip() for line in _text(path).split("\n"))
    return [line for line in lines if line and not line.startswith("#")]


def _records(path: Path) -> list[object]:
    """LSDIR's train.json, [{"path": "HR/train/0001000/0000001.png"}, ...], or plain texts."""
    try:
        records = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ImageError(f"{path}: not valid JSON, line {error.lineno}: {error.msg}") from error
    if not isinstance(records, list):
        raise ImageError(f'{path}: holds no list; needed: [{{"path": ...}}, ...]')
    return [one.get("path") if isinstance(one, dict) else one for one in records]


def _column(path: Path) -> list[object]:
    """The column `path`, or the only column of texts; no other column is read."""
    import pandas as pd
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(path)
        texts = [field.name for field in schema if _is_text(field.type)]
        if "path" not in texts and len(texts) != 1:
            raise ImageError(
                f"{path}: needs a column `path` of texts, or one column of texts; got the columns "
                f"{', '.join(schema.names) or '(none)'}"
            )
        name = "path" if "path" in texts else texts[0]
        return list(pd.read_parquet(path, columns=[name])[name])
    except pa.ArrowException as error:
        raise ImageError(f"{path}: is damaged or no parquet file ({error})") from error


def _is_text(kind: object) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type  # type: ignore[attr-defined]
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


_READERS: dict[str, Callable[[Path], Sequence[object]]] = {
    ".txt": _lines,
    ".json": _records,
    ".parquet": _column,
}

"""Files that are either complete or absent: a temporary name first, then a rename."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_LONGEST = 200  # bytes of a name that a temporary name holds
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; renames it on success and removes it on an error.

    The temporary name ends in the real one, so writers that look at the suffix work. It starts
    with a dot, so a copy left behind by a kill is never taken for data.
    """
    path = Path(path)
    temporary = path.with_name(_temporary(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        share(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno in _FULL:
            raise OSError(
                error.errno,
                f"no room to write it ({error.strerror}): nothing was left behind; "
                "free some space or raise the quota, then run the same command again",
                str(path),
            ) from error
        raise
    finally:
        # After a rename there is nothing to remove; after any error there may be half a file.
        temporary.unlink(missing_ok=True)


def share(path: Path) -> None:
    """Lets everybody read a file whom the user's umask lets: safetensors writes for one alone."""
    allowed = os.umask(0o077)
    os.umask(allowed)
    path.chmod(0o666 & ~allowed)


def _temporary(name: str) -> str:
    """The name while writing; a long one is cut in front, as file systems take 255 bytes."""
    if len(os.fsencode(name)) <= _LONGEST:
        return f".tmp-{os.getpid()}-{name}"
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    return f".tmp-{os.getpid()}-{digest}-{name[-_LONGEST // 8 :]}"


def write_bytes(path: Path | str, data: bytes) -> None:
    """Writes the whole file or nothing."""
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path | str, text: str) -> None:
    """Writes UTF-8 with Unix line ends on every system, the whole file or nothing."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Writes indented JSON; NaN and infinity are refused, as JSON has neither (use null)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Reads JSON; a missing or broken file is named, with what to do."""
    text = read_text(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}: not valid JSON, line {error.lineno} column {error.colno}: {error.msg}; "
            "delete it and run `dvc repro` to write it again"
        ) from error


def read_text(path: Path | str) -> str:
    """Reads UTF-8; a missing stage output is named, with what to do."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FileNotFoundError(
            errno.ENOENT, "missing: an earlier stage writes it; run `dvc repro`", str(path)
        ) from error

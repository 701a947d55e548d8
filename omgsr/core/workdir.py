"""Folders to work in that DVC does not delete, and the move from there into place."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path


@contextmanager
def exclusive(folder: Path) -> Iterator[Callable[[], None]]:
    """Makes the folder and lets one process in; the others wait. Gives a check that it is there.

    A stage whose DVC was killed may still be at work when the next one starts. Who was in before
    may have removed the folder at its end: then it is made anew, and locked before it is used.
    The folder is its own lock, where filelock would leave a file for ever after every run.
    """
    while True:
        descriptor = _opened(folder)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _same(descriptor, folder):
                yield partial(_require, descriptor, folder)
                return
        finally:
            os.close(descriptor)


def _opened(folder: Path, tries: int = 100) -> int:
    """A descriptor of the folder, which who was in before may remove between its two lines."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY)
    except (FileExistsError, FileNotFoundError):  # mkdir says the first of what has gone since
        if tries == 1:
            raise
    return _opened(folder, tries - 1)


def _same(descriptor: int, folder: Path) -> bool:
    """Whether the folder that was opened is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:
        return False


def _require(descriptor: int, folder: Path) -> None:
    """Refuses a folder that was removed since: files that came after have made another one."""
    if not _same(descriptor, folder):
        raise FileNotFoundError(
            f"{folder} was deleted while it was worked in, with what was finished; run the same "
            "command again"
        )


def publish(finished: Path, target: Path) -> None:
    """Moves a finished folder to `target`, in place of what is there."""
    for half_written in finished.rglob(".tmp-*"):  # by a process that was killed
        half_written.unlink()
    beside = target.with_name(f".tmp-{target.name}")
    shutil.rmtree(beside, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Another file system makes this a copy; the target appears by a rename in either case.
    shutil.move(finished, beside)
    if target.exists():
        shutil.rmtree(target)
    beside.rename(target)

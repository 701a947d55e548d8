"""The state of long work on disk: whole or not at all, and read without running any of it."""

import zipfile
from pathlib import Path
from typing import Any

import torch

from omgsr.core import files


class CheckpointError(ValueError):
    """A checkpoint that cannot be read."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes a checkpoint whole or not at all; the one before it is replaced."""
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's own, of a position, where a disk is full
            raise error.__context__ if isinstance(error.__context__, OSError) else error from None


def load(path: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None; tensors and plain values only, never code.

    Raises CheckpointError for a file that is not as it was written.
    """
    if not path.exists():
        return None
    try:
        _check(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path} cannot be read ({reason}); remove it to train from the start"
        ) from error


def _check(path: Path) -> None:
    """Refuses a file that is not as it was written: torch does not look at its checksums."""
    with zipfile.ZipFile(path) as file:
        broken = file.testzip()
    if broken is not None:
        raise ValueError(f"it has changed since it was written, in {broken}")

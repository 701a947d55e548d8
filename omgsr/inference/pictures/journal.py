"""The record beside restored images: how each of them was made."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from omgsr.core import environment, files
from omgsr.inference.streaming import Done

NAME = "omgsr-upscale.json"
EVERY = 2.0
"""Seconds after which what has been added is written: what a killed run may lose."""


class Journal:
    """Adds images to the JSON file of a folder; entries of images that are gone are dropped."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], about: Mapping[str, Any], method: Any,
        where: str,
    ) -> None:  # fmt: skip
        """`about` says what the model is; `method` may have `notes` and `tile_used`."""
        self._folder, self._path, self._method = folder, folder / NAME, method
        known = files.read_json(self._path).get("images", {}) if self._path.exists() else {}
        self._images = {name: one for name, one in known.items() if (folder / name).exists()}
        plain = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
        self._head: dict[str, Any] = {
            "settings": plain, "model": dict(about), "device": where,
            "environment": environment.describe(),
        }  # fmt: skip
        self._written = time.monotonic()

    def add(self, one: Done) -> None:
        """What became of an image."""
        self._images[one.target.relative_to(self._folder).as_posix()] = {
            "source": str(one.source), "size_in": one.size_in, "size_out": one.size_out,
            "seconds": round(one.seconds, 4), "error": one.error,
            "method": self._head["model"]["method"],
        }  # fmt: skip
        if time.monotonic() - self._written > EVERY:
            self._write()

    def _write(self) -> None:
        more = {
            "tile": getattr(self._method, "tile_used", None),
            "notes": list(dict.fromkeys(getattr(self._method, "notes", []))),
            "images": dict(sorted(self._images.items())),
        }
        files.write_json(self._path, {**self._head, **more})
        self._written = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()

"""Scores that are finished, a file an image, so that a killed run continues where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from omgsr.core import files
from omgsr.core.fingerprint import code
from omgsr.evaluation.scoring import Item, Scored


@dataclass(frozen=True)
class Kept:
    """The finished images of one set; it is called as `scoring.Keep`."""

    folder: Path

    def __call__(self, name: str, compute: Callable[[], Scored]) -> Scored:
        """The kept scores of an image, or else those of `compute`, which are kept."""
        path = self.folder / f"{name}.json"
        if path.exists():
            return self._read(name, files.read_json(path))
        scored = compute()
        # JSON gives a float64 back to the last bit, and a float32 by way of it.
        features = {metric: one.tolist() for metric, one in scored.features.items()}
        told = {"values": scored.values, "notes": list(scored.notes), "features": features}
        files.write_text(path, json.dumps(told, allow_nan=False))
        return scored

    @staticmethod
    def _read(name: str, told: Mapping[str, Any]) -> Scored:
        return Scored(
            name=name,
            values=told["values"],
            notes=tuple(told["notes"]),
            features={m: np.array(one, np.float32) for m, one in told["features"].items()},
        )


def fingerprint(contract: Mapping[str, Any], sets: Mapping[str, Iterable[Item]]) -> str:
    """16 hex digits of all that decides the scores: how they are made, code, images by content."""
    digest = hashlib.sha256(json.dumps(contract, sort_keys=True).encode())
    for path in code("core", "data", "evaluation"):
        digest.update(path.read_bytes())
    for package in ("numpy", "scipy", "pillow", "opencv-python-headless", "torchvision", "timm"):
        digest.update(f"{package} {_version(package)}".encode())
    content = cache(_sha256)
    for name, items in sets.items():
        for item in items:
            hq = content(item.row.hq) if item.row.hq else ""
            digest.update(f"{name}{item.row}{content(str(item.sr))}{hq}".encode())
    return digest.hexdigest()[:16]


def _sha256(path: str) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except ImportError:
        return ""

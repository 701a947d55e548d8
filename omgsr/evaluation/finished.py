"""Scores that are finished, a file an image, so that a killed run continues where it was."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from omgsr.core import files
from omgsr.core.fingerprint import sha256, work_name
from omgsr.evaluation.scoring import Item, Scored


@dataclass(frozen=True)
class Kept:
    """The finished images of one set; it is called as `scoring.Keep`."""

    folder: Path

    def __call__(self, name: str, compute: Callable[[], Scored]) -> Scored:
        """The kept scores of an image, or else those of `compute`, which are kept."""
        path = self.folder / f"{name}.json"
        if path.exists():
            told = files.read_json(path)
            features = {m: np.array(one, np.float32) for m, one in told["features"].items()}
            return Scored(name, told["values"], tuple(told["notes"]), features)
        scored = compute()
        # JSON gives a float64 back to the last bit, and a float32 by way of it.
        features = {metric: one.tolist() for metric, one in scored.features.items()}
        told = {"values": scored.values, "notes": list(scored.notes), "features": features}
        files.write_text(path, json.dumps(told, allow_nan=False))
        return scored


def fingerprint(contract: Mapping[str, Any], sets: Mapping[str, Iterable[Item]]) -> str:
    """16 hex digits of all that decides the scores: how they are made, code, images by content."""
    content = cache(sha256)
    inputs = [json.dumps(contract, sort_keys=True)]
    for name, items in sets.items():
        for item in items:
            hq = content(item.row.hq) if item.row.hq else ""
            inputs.append(f"{name}{item.row}{content(item.sr)}{hq}")
    packages = ("numpy", "scipy", "pillow", "opencv-python-headless", "torchvision", "timm")
    return work_name(("core", "data", "evaluation"), packages, inputs)

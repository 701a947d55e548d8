"""PyIQA's table of metrics, read without importing PyIQA (which takes seconds and torch), and ours.

`pattern-8` and `pattern-16` measure what transformers leave in pictures (patterns.py), in decibels.
"""

import runpy
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OWN: dict[str, dict[str, Any]] = {
    f"pattern-{period}": {
        "metric_opts": {"type": "Pattern", "period": period},
        "metric_mode": "NR",
        "lower_better": True,
    }
    for period in (8, 16)
}
"""Periods are the sides of a token: of mini_flow, and of FLUX.1-dev and the others."""


@cache
def metric_table() -> Mapping[str, Mapping[str, Any]]:
    """Metric name => {metric_mode: 'FR' or 'NR', lower_better, ...}, as PyIQA declares it."""
    path = inside("pyiqa", "default_model_configs.py")
    table: Mapping[str, Mapping[str, Any]] = runpy.run_path(str(path))["DEFAULT_CONFIGS"]
    return {**table, **OWN}


def inside(package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported for it."""
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed; run `make install`")
    return Path(found.origin).parent.joinpath(*parts)

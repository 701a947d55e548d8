"""PyIQA's table of metrics, read without importing PyIQA (which takes seconds and torch)."""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any


@cache
def metric_table() -> Mapping[str, Mapping[str, Any]]:
    """Metric name => {metric_mode: 'FR' or 'NR', lower_better, ...}, as PyIQA declares it."""
    package = find_spec("pyiqa")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pyiqa is not installed; install the pinned requirements")
    path = Path(package.origin).with_name("default_model_configs.py")
    spec = spec_from_file_location("omgsr._pyiqa_table", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path}: cannot be read; install the version constraints.txt pins")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    table: Mapping[str, Mapping[str, Any]] = module.DEFAULT_CONFIGS
    return table

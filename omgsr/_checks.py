"""What one section of the configuration says about another."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from omgsr._build import ConfigError, unknown

if TYPE_CHECKING:
    from omgsr.config import Config
    from omgsr.sets import Images

_RESERVED = {"train", "average"}  # a manifest and a table row of their own
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+]*")  # '-' separates variant and timestep


def check_names(config: Config, file: str) -> None:
    """Variant and benchmark names become folders, matrix items and table rows."""
    for where, names in (
        ("params.yaml: variants", config.variants),
        ("params.yaml: degradation", config.degradation),
        (f"{file}: benchmarks", config.benchmarks),
    ):
        if not names:
            raise ConfigError(f"{where}: empty; at least one is needed")
        for name in names:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{where}: got the name {name!r}, allowed: letters, digits and _ . +"
                )
    for name in _RESERVED & config.benchmarks.keys():
        raise ConfigError(f"{file}: benchmarks.{name}: this name is taken; choose another")


def check_references(config: Config, file: str) -> None:
    """Names and sizes that must agree between sections."""
    for name in config.sweep.variants:
        if name not in config.variants:
            message = unknown("unknown variant", name, config.variants)
            raise ConfigError(f"params.yaml: sweep.variants: {message}")
    used = {"data.degradation": config.data.degradation}
    used |= {
        f"benchmarks.{name}.degradation": benchmark.degradation
        for name, benchmark in config.benchmarks.items()
        if benchmark.degradation is not None
    }
    for where, preset in used.items():
        if preset not in config.degradation:
            message = unknown("unknown degradation preset", preset, config.degradation)
            raise ConfigError(f"{file}: {where}: {message}")
    _check_crops(config, file)


def check_disjoint(config: Config, file: str) -> None:
    """Nothing that is trained on may be tested on."""
    trained = config.data.train
    for name, benchmark in config.benchmarks.items():
        for part in ("hq", "lq"):
            images: Images | None = getattr(benchmark, part)
            if images is None:
                continue
            shared = sorted(set(trained.photographs) & set(images.photographs))
            shared += sorted(_paths(trained) & _paths(images))
            if shared:
                raise ConfigError(
                    f"{file}: benchmarks.{name}.{part}: also in data.train: {', '.join(shared)}; "
                    "training and test images must be disjoint, take them out of one"
                )


def _paths(images: Images) -> set[str]:
    # The data stage compares the files themselves; this finds the plain mistake before any work.
    return {os.path.normpath(folder.path) for folder in images.folders if folder.path}


def _check_crops(config: Config, file: str) -> None:
    scale = config.data.scale
    crops = {f"benchmarks.{name}.crop": b.crop for name, b in config.benchmarks.items()}
    crops["train.crop"] = config.train.crop
    for where, crop in crops.items():
        if crop is not None and crop % scale:
            raise ConfigError(
                f"{file}: {where}: got {crop}, allowed: a multiple of data.scale ({scale})"
            )
    if config.train.crop is not None and config.train.crop > config.data.crop:
        raise ConfigError(
            f"{file}: train.crop: got {config.train.crop}, allowed: at most data.crop "
            f"({config.data.crop})"
        )

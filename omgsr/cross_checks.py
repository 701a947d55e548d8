"""What one section of the configuration says about another."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from omgsr.baselines.known import KNOWN, needs
from omgsr.core.build import ConfigError, unknown

if TYPE_CHECKING:
    from omgsr.config import Config
    from omgsr.data.settings import Images

_SD21 = ("sd21-base", "sd")  # `sd` is any model, of which only its user knows which
_RESERVED = {"train", "average"}  # a manifest and a table row of their own
# '-' separates variant, timestep and seed, so that no run has the name of a method.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+]*")
# DVC finds these by a path of keys, in which '.' separates.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+]*")


def check_names(config: Config, file: str) -> None:
    """Names of variants, methods and benchmarks become folders, matrix items and table rows."""
    for where, names, pattern in (
        ("params.yaml: variants", config.variants, _KEY),
        ("params.yaml: methods", config.methods, _KEY),
        ("params.yaml: degradation", config.degradation, _NAME),
        (f"{file}: benchmarks", config.benchmarks, _NAME),
        (f"{file}: ablations", config.ablations, _NAME),
    ):
        if not names and names is not config.methods and names is not config.ablations:
            raise ConfigError(f"{where}: empty; at least one is needed")
        for name in names:
            if not pattern.fullmatch(name):
                marks = "_ +" if pattern is _KEY else "_ . +"
                raise ConfigError(
                    f"{where}: got the name {name!r}, allowed: letters, digits and {marks}"
                )
    for name in _RESERVED & config.benchmarks.keys():
        raise ConfigError(f"{file}: benchmarks.{name}: this name is taken; choose another")


def check_references(config: Config, file: str) -> None:
    """Names and sizes that must agree between sections."""
    used_in = {"params.yaml: sweep": config.sweep.variants}
    used_in |= {f"{file}: ablations.{key}": one.variants for key, one in config.ablations.items()}
    for where, names in used_in.items():
        for name in names:
            if name not in config.variants:
                message = unknown("unknown variant", name, config.variants)
                raise ConfigError(f"{where}.variants: {message}")
    _check_methods(config, file)
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
    for name in config.score.reference:
        if name not in config.benchmarks:
            message = unknown("unknown benchmark", name, config.benchmarks)
            raise ConfigError(f"{file}: score.reference: {message}")
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


def _check_methods(config: Config, file: str) -> None:
    """Methods of the sweep are defined, have their path, and fit the foundation."""
    for name in config.sweep.methods:
        if name not in config.methods:
            message = unknown("unknown method", name, config.methods)
            raise ConfigError(f"params.yaml: sweep.methods: {message}")
        method = config.methods[name]
        known, where = KNOWN[method.kind], f"params.yaml: methods.{name}"
        if known.path and method.path is None:
            raise ConfigError(f"{where}: {needs(method.kind)}")
        for benchmark in method.benchmarks or ():
            if benchmark not in config.benchmarks:
                message = unknown("unknown benchmark", benchmark, config.benchmarks)
                raise ConfigError(f"{where}.benchmarks: {message}")
        backbone = config.foundation.backbone
        if known.foundation and backbone not in _SD21:
            raise ConfigError(
                f"{where}: {method.kind} runs on SD2.1-base, but {file}: foundation.backbone is "
                f"{backbone!r}; take {name} out of sweep.methods or use {' or '.join(_SD21)}"
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

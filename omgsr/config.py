"""The whole configuration, checked before any work: params.yaml and configs/<profile>.yaml.

params.yaml holds the science, configs/<profile>.yaml the scale; each top-level key lives in one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from omgsr.baselines.settings import Method as Method
from omgsr.core.build import ConfigError as ConfigError
from omgsr.core.build import convert, unknown
from omgsr.core.yaml_files import read_yaml
from omgsr.cross_checks import check_disjoint, check_names, check_references
from omgsr.data.presets import Preset
from omgsr.data.settings import Benchmark as Benchmark
from omgsr.data.settings import Data as Data
from omgsr.data.settings import Folder as Folder
from omgsr.data.settings import Images as Images
from omgsr.models import catalogue
from omgsr.plans import Infer as Infer
from omgsr.plans import Score as Score
from omgsr.plans import TimestepSection as TimestepSection
from omgsr.plans import Train as Train
from omgsr.sections import Ablation as Ablation
from omgsr.sections import Features as Features
from omgsr.sections import Foundation as Foundation
from omgsr.sections import FoundationTraining as FoundationTraining
from omgsr.sections import Run as Run
from omgsr.sections import Sweep as Sweep
from omgsr.sections import Variant as Variant
from omgsr.sections import Whole

PARAMS = ("profile", "seed", "variants", "sweep", "methods", "degradation")
"""Top-level keys of params.yaml; all others belong into configs/<profile>.yaml."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything a run depends on."""

    profile: str
    """Name of the file in configs/."""
    seed: Whole
    """Root of all randomness."""
    degradation: dict[str, Preset]
    """Degradation presets by name."""
    variants: dict[str, Variant]
    """Training variants by name."""
    sweep: Sweep
    """The runs, and the methods beside them."""
    methods: dict[str, Method]
    """Methods beside OMGSR by name."""
    ablations: dict[str, Ablation]
    """Comparisons that `make ablations` makes, by name."""
    data: Data
    """Training pairs."""
    benchmarks: dict[str, Benchmark]
    """Test sets by name."""
    foundation: Foundation
    """Pre-trained model."""
    timestep: TimestepSection
    """Computation of t*."""
    train: Train
    """Fine-tuning."""
    infer: Infer
    """Restoration."""
    score: Score
    """Metrics."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, in the order of the sweep."""
        return self.sweep.runs

    @property
    def run_names(self) -> tuple[str, ...]:
        """Folder of every run below runs/, such as full-auto-0."""
        return tuple(run.name for run in self.runs)

    @property
    def method_names(self) -> tuple[str, ...]:
        """Folder of every method beside them below runs/, in the order of the sweep."""
        return self.sweep.methods

    def benchmarks_of(self, name: str) -> tuple[str, ...]:
        """The benchmarks that a run or a method is restored and scored on."""
        method = self.methods.get(name)
        return (method.benchmarks if method else None) or tuple(self.benchmarks)

    @property
    def unset(self) -> tuple[tuple[str, str], ...]:
        """(key path, where to obtain it) of every data root and model path that is null."""
        sets: dict[str, Images | None] = {"data.train": self.data.train}
        for name, benchmark in self.benchmarks.items():
            sets |= {f"benchmarks.{name}.hq": benchmark.hq, f"benchmarks.{name}.lq": benchmark.lq}
        found = [
            (f"{key}.folders[{i}].path", folder.obtain)
            for key, images in sets.items()
            for i, folder in enumerate(images.folders if images else ())
            if folder.path is None
        ]
        if self.foundation.source in ("folder", "hub") and self.foundation.path is None:
            obtain = self.foundation.obtain or catalogue.obtain(self.foundation.backbone)
            found.append(("foundation.path", obtain))
        return tuple(found)

    def require_ready(self) -> None:
        """Refuses a profile whose data roots or model path are still null, naming each."""
        if self.unset:
            lines = [f"  {key}: {obtain or 'a path'}" for key, obtain in self.unset]
            raise ConfigError(
                f"configs/{self.profile}.yaml: profile {self.profile!r} needs these paths "
                "filled in (or set `profile: mini` in params.yaml):\n" + "\n".join(lines)
            )


def load(root: Path | str = ".", profile: str | None = None, *, ready: bool = True) -> Config:
    """Reads and checks both files below `root`; `profile` overrides the one in params.yaml.

    `ready=False` also accepts a profile whose data roots are not filled in yet.
    """
    root = Path(root)
    params = read_yaml(root / "params.yaml", "params.yaml")
    profile = _profile(root, params.get("profile") if profile is None else profile)
    name = f"configs/{profile}.yaml"
    scale = read_yaml(root / name, name)
    _check_homes(params, scale, name)
    params["profile"] = profile
    config = _build(params, scale, name)
    for check in (check_names, check_references, check_disjoint):
        check(config, name)
    if ready:
        config.require_ready()
    return config


def _profile(root: Path, profile: object) -> str:
    names = sorted(path.stem for path in (root / "configs").glob("*.yaml"))
    if profile not in names:
        raise ConfigError(f"params.yaml: profile: {unknown('unknown profile', profile, names)}")
    return str(profile)


def _check_homes(params: dict[str, Any], scale: dict[str, Any], name: str) -> None:
    scales = [field.name for field in fields(Config) if field.name not in PARAMS]
    both = sorted(map(str, params.keys() & scale.keys()))
    if both:
        raise ConfigError(f"{name}: {both[0]}: also given in params.yaml; keep one of the two")
    homes = (
        ("params.yaml", params, PARAMS, name, scales),
        (name, scale, scales, "params.yaml", PARAMS),
    )
    for file, keys, own, other, others in homes:
        for key in keys:
            if key in others:
                raise ConfigError(f"{file}: {key}: belongs into {other}; move it there")
            if key not in own:
                raise ConfigError(f"{file}: {unknown('unknown key', key, own)}")
    for file, keys, own, _, _ in homes:
        for key in own:
            if key not in keys:
                raise ConfigError(f"{file}: {key}: missing; see the same key of {file} in git")


def _build(params: dict[str, Any], scale: dict[str, Any], name: str) -> Config:
    hints = get_type_hints(Config, include_extras=True)
    values = {
        key: convert(hints[key], value, f"{file}: {key}")
        for file, mapping in (("params.yaml", params), (name, scale))
        for key, value in mapping.items()
    }
    return Config(**values)

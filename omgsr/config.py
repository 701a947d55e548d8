"""The whole configuration, checked before any work: params.yaml and configs/<profile>.yaml.

params.yaml holds the science, configs/<profile>.yaml the scale; each top-level key lives in one.
"""

from pathlib import Path
from typing import Any, get_type_hints

from omgsr import cross_checks
from omgsr.baselines.settings import Method
from omgsr.core import wording
from omgsr.core.settings import ConfigError, Whole, line_of, read, read_yaml, section
from omgsr.core.wording import unknown
from omgsr.data.presets import Preset
from omgsr.data.settings import Benchmark, Data, Images
from omgsr.evaluation.settings import Score
from omgsr.experiments import Ablation, Run, Sweep
from omgsr.inference.settings import Infer
from omgsr.method.settings import TimestepSection, Variant
from omgsr.models import catalogue
from omgsr.models.settings import Foundation
from omgsr.training.settings import Train

HOME = "params.yaml"
PARAMS = ("profile", "seed", "variants", "sweep", "methods", "degradation")
"""Top-level keys of params.yaml; all others belong into configs/<profile>.yaml."""


@section
class Config:
    """Everything a run depends on: a section of either file each, or what it names."""

    profile: str
    """Name of the file in configs/."""
    seed: Whole
    """Root of all randomness."""
    degradation: dict[str, Preset]
    variants: dict[str, Variant]
    sweep: Sweep
    methods: dict[str, Method]
    ablations: dict[str, Ablation]
    exact: bool
    """Whether kernels are held to those that x86-64 processors share (omgsr/core/exact.py)."""
    data: Data
    benchmarks: dict[str, Benchmark]
    foundation: Foundation
    timestep: TimestepSection
    train: Train
    infer: Infer
    score: Score

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, in the order of the sweep."""
        return self.sweep.runs

    @property
    def run_names(self) -> tuple[str, ...]:
        """Folder of every run below runs/, such as full-auto-0."""
        return tuple(run.name for run in self.runs)

    def losses(self, variant: str) -> dict[str, float]:
        """Weight of every loss of a variant as it is trained: its own times `train.balance`."""
        factors = self.train.balance
        own = self.variants[variant].losses
        return {loss: weight * factors.get(loss, 1.0) for loss, weight in own.items()}

    @property
    def method_names(self) -> tuple[str, ...]:
        """Folder of every method beside them below runs/, in the order of the sweep."""
        return self.sweep.methods

    def benchmarks_of(self, name: str) -> tuple[str, ...]:
        """The benchmarks that a run or a method is restored and scored on."""
        method = self.methods.get(name)
        return (method.benchmarks if method else None) or tuple(self.benchmarks)

    def restoring(self, benchmark: str) -> tuple[str, ...]:
        """The methods and runs that restore a benchmark."""
        every = self.method_names + self.run_names
        return tuple(name for name in every if benchmark in self.benchmarks_of(name))

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

    `ready=False` also accepts a profile whose data roots are not filled in yet. A ConfigError has
    every fault of both files, a line each: file, line, key path, what was got, what is allowed.
    """
    root = Path(root)
    params = read_yaml(root / HOME, HOME)
    profile = _profile(root, params.get("profile") if profile is None else profile)
    name = f"configs/{profile}.yaml"
    scale = read_yaml(root / name, name)
    params["profile"] = profile
    sections, faults = _sections(params, scale, name)
    for path, text in cross_checks.faults(sections, name):
        faults.append((HOME if path[0] in PARAMS else name, path, text))
    if faults:
        raise ConfigError("\n".join(_line(root, *fault) for fault in faults))
    config = Config(**sections)
    if ready:
        config.require_ready()
    return config


def _profile(root: Path, profile: object) -> str:
    names = sorted(path.stem for path in (root / "configs").glob("*.yaml"))
    if profile not in names:
        raise ConfigError(f"{HOME}: profile: {unknown('unknown profile', profile, names)}")
    return str(profile)


def _sections(
    params: dict[str, Any], scale: dict[str, Any], name: str
) -> tuple[dict[str, Any], list[tuple[str, wording.Keys, str]]]:
    """Every section that is right by itself, and what is wrong: (file, key path, text)."""
    kinds = get_type_hints(Config, include_extras=True)
    own = {HOME: set(PARAMS), name: kinds.keys() - set(PARAMS)}
    made: dict[str, Any] = {}
    faults: list[tuple[str, wording.Keys, str]] = []
    for file, values in ((HOME, params), (name, scale)):
        for key, value in values.items():
            if key not in kinds:
                faults.append((file, (), unknown("unknown key", key, own[file])))
            elif key in params and key in scale:
                if values is scale:
                    faults.append((file, (key,), f"also given in {HOME}; keep one of the two"))
            elif key not in own[file]:
                other = HOME if values is scale else name
                faults.append((file, (key,), f"belongs into {other}; move it there"))
            else:
                made[key], found = read(kinds[key], value)
                faults += [(file, (key, *path), text) for path, text in found]
        for key in sorted(own[file] - params.keys() - scale.keys()):
            faults.append((file, (key,), f"missing; see the same key of {file} in git"))
    return {key: value for key, value in made.items() if value is not None}, faults


def _line(root: Path, file: str, path: wording.Keys, text: str) -> str:
    """A fault as a user reads it: 'file, line 3: a.b: what is wrong'."""
    line = line_of(root / file, path)
    return wording.line(file if line is None else f"{file}, line {line}", (path, text))

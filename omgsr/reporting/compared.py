"""What stands side by side in a report: runs and methods, benchmarks and metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from omgsr.core import files
from omgsr.data import manifest
from omgsr.evaluation import metrics
from omgsr.evaluation.metrics import Traits

PIPELINE_ONLY = (
    "Model mini: these numbers show that the pipeline works, with a small model that was trained "
    "for minutes. They say nothing about the paper's results."
)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A trained run."""

    name: str
    """Its folder below runs/."""
    variant: str
    """Name of its losses."""
    t: int
    """The timestep that it was trained at."""
    asked: str = ""
    """`auto` or a number."""
    seed: int = 0
    """Of its training."""

    @property
    def setting(self) -> str:
        """Variant and timestep, as a table says them."""
        return f"{self.variant}, t = {self.t}" + (" (auto)" if self.asked == "auto" else "")


@dataclass(frozen=True, kw_only=True)
class Compared:
    """All that a report is about."""

    methods: tuple[str, ...] = ()
    """Methods beside the runs, which come first."""
    runs: tuple[Run, ...] = ()
    benchmarks: Mapping[str, bool]
    """Of each whether it is paired."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Images of each benchmark."""
    traits: tuple[Traits, ...]
    """All metrics."""
    combined: tuple[str, ...] = ()
    """Metrics of the composite score."""
    caveats: tuple[str, ...] = ()
    """What stands below every table."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every folder below runs/ that is shown."""
        return (*self.methods, *(run.name for run in self.runs))

    @property
    def lower(self) -> dict[str, bool]:
        """Metric => whether lower is better."""
        return {one.name: one.lower_better for one in self.traits}


def read(settings: Any) -> Compared:
    """All of a configuration (omgsr/config.py), with the timesteps that `resolve` wrote."""
    resolved = {run.name: files.read_json(f"runs/{run.name}/t.json") for run in settings.runs}
    return Compared(
        methods=settings.method_names,
        runs=tuple(
            Run(name=run.name, variant=run.variant, t=resolved[run.name]["t"])
            for run in settings.runs
        ),
        benchmarks={name: one.paired for name, one in settings.benchmarks.items()},
        sizes={name: len(manifest.read(f"data/pairs/{name}.csv")) for name in settings.benchmarks},
        traits=tuple(metrics.traits(name) for name in settings.score.metrics),
        combined=settings.score.compared,
        caveats=caveats(settings.foundation.backbone),
    )


def caveats(backbone: str) -> tuple[str, ...]:
    """What stands below every table of a backbone's numbers: PIPELINE_ONLY for the small model."""
    return (PIPELINE_ONLY,) if backbone == "mini" else ()

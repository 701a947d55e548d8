"""Checks both files before any work and lists the runs that `dvc repro` makes.

A method of the sweep whose weights or outputs are absent is an error now, not after a training.
"""

import argparse
from pathlib import Path

from omgsr.commands import profile

arguments = profile


def run(given: argparse.Namespace) -> int:
    """Prints what the configuration makes, in a few lines."""
    from omgsr import config
    from omgsr.baselines.settings import needs

    settings = config.load(given.folder, given.profile)
    for name, value in {
        "profile": (settings.profile,),
        "runs": settings.run_names,
        "beside them": settings.method_names,
        "benchmarks": settings.benchmarks,
        "metrics": settings.score.metrics,
    }.items():
        print(f"{name:12} {', '.join(value)}")
    for name in settings.sweep.methods:
        method = settings.methods[name]
        if method.path and not (Path(given.folder) / Path(method.path).expanduser()).exists():
            raise FileNotFoundError(
                f"methods.{name}.path: {method.path} is not there; {needs(method.kind)}; or take "
                f"{name} out of sweep.methods"
            )
    return 0

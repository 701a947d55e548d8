"""`omgsr check`: the configuration as a whole."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omgsr.config import Config

DESCRIPTION = "Checks both files before any work and lists the runs that `dvc repro` makes."


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", nargs="?", default=".", help="the repository (default: here)")
    parser.add_argument("--profile", help="another profile than the one of params.yaml")


def run(given: argparse.Namespace) -> int:
    """Prints what the configuration makes."""
    from omgsr import config

    print(describe(config.load(Path(given.folder), given.profile)))
    return 0


def describe(settings: "Config") -> str:
    """What a configuration makes, in a few lines."""
    lines = {
        "profile": settings.profile,
        "runs": ", ".join(settings.run_names),
        "beside them": ", ".join(settings.method_names),
        "benchmarks": ", ".join(settings.benchmarks),
        "metrics": ", ".join(settings.score.metrics),
    }
    return "\n".join(f"{name:12} {value}" for name, value in lines.items())

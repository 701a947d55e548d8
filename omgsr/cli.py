"""The `omgsr` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from omgsr import config


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; a mistake is one clear line on stderr and exit code 1."""
    parser = argparse.ArgumentParser(
        prog="omgsr", description="One-step real-world image super-resolution at a mid-timestep."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check",
        help="check params.yaml and configs/<profile>.yaml as a whole",
        description="Checks both files before any work and lists the runs that `dvc repro` makes.",
    )
    check.add_argument("folder", nargs="?", default=".", help="the repository (default: here)")
    check.add_argument("--profile", help="another profile than the one of params.yaml")
    given = parser.parse_args(arguments)
    try:
        print(describe(config.load(Path(given.folder), given.profile)))
    except (ValueError, OSError) as error:
        print(f"omgsr check: {error}", file=sys.stderr)
        return 1
    return 0


def describe(settings: config.Config) -> str:
    """What a configuration makes, in a few lines."""
    lines = {
        "profile": settings.profile,
        "runs": ", ".join(settings.run_names),
        "beside them": ", ".join(settings.methods),
        "benchmarks": ", ".join(settings.benchmarks),
        "metrics": ", ".join(settings.score.metrics),
    }
    return "\n".join(f"{name:12} {value}" for name, value in lines.items())

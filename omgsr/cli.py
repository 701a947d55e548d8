"""The `omgsr` command: each of its commands is a module of omgsr/commands."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

COMMANDS = {
    "check": "check params.yaml and configs/<profile>.yaml as a whole",
    "composite": "composite scores (Eqs. 20-23) of a CSV of scores",
    "convert": "read the published files of OSEDiff, PiSA-SR or Real-ESRGAN into safetensors",
    "data": "check the images of the training set and every benchmark",
    "doctor": "what is installed and present for a profile, and how to get the rest",
    "upscale": "restore images with a trained run, released adapters or another method",
}
"""Module and its line of help: a module is imported when its command is asked for."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; a mistake is one clear message on stderr and exit code 1."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    given = _parser(words[:1]).parse_args(words)
    from omgsr.core import exact

    exact.begin(exact.profile(Path()))  # before a library is loaded
    try:
        return int(given.run(given))
    except (ValueError, OSError, ImportError) as error:
        print(f"omgsr {given.command}: {error}", file=sys.stderr)
        return 1


def _parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of all commands, with the arguments of those that are asked for."""
    parser = argparse.ArgumentParser(
        prog="omgsr", description="One-step real-world image super-resolution at a mid-timestep."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, line in COMMANDS.items():
        one = commands.add_parser(
            name, help=line, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in asked:
            module = import_module(f"omgsr.commands.{name}")
            one.description = module.__doc__
            module.arguments(one)
            one.set_defaults(run=module.run)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

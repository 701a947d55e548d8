"""The `omgsr` command: each of its commands is a module of omgsr/commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from omgsr.commands import check, composite, convert, data, doctor, upscale

COMMANDS: tuple[Any, ...] = (check, composite, convert, data, doctor, upscale)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; a mistake is one clear message on stderr and exit code 1."""
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except (ValueError, OSError, ImportError) as error:
        print(f"omgsr {given.command}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="omgsr", description="One-step real-world image super-resolution at a mid-timestep."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        one = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(one)
        one.set_defaults(run=command.run)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

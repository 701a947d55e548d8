"""Reads osediff.pkl or pisa_sr.pkl once, without running anything that is in it, and writes its
adapters as PEFT folders of safetensors with a card:

  omgsr convert osediff.pkl -o weights/osediff

The folder, like the file itself, is a `path` for a method in params.yaml:

  methods:
    osediff: {kind: osediff, path: weights/osediff}

A file that would run code or that holds anything but weights is refused.
"""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", type=Path, help="osediff.pkl or pisa_sr.pkl")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="a new or empty folder"
    )


def run(given: argparse.Namespace) -> int:
    """Converts and says what was found."""
    from omgsr.baselines import conversion

    card = conversion.convert(given.file, given.output)
    ranks = ", ".join(f"{folder} of rank {rank}" for folder, rank in card.ranks.items())
    print(f"{given.output}: {card.method} ({ranks}), for step {card.t} of SD2.1-base")
    print(f"from {card.source['name']}, sha256 {card.source['sha256']}")
    return 0

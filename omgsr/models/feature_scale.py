"""How far each level spreads over photographs, by which the heads can see every network alike.

The levels of networks differ in size: within a channel of EfficientNet-Lite0 values spread by 6 to
8, in the small ConvNeXt by 1 to 2. What heads of one initialisation and one learning rate make of
them, and the gradient that comes back, differs as much. Dv3CD has ratios, which no scale changes.
"""

from pathlib import Path

import torch

from omgsr.core import files, images
from omgsr.data import photographs
from omgsr.models import features
from omgsr.models.features import Features

PHOTOGRAPHS = (
    "astronaut", "brick", "camera", "china", "coins", "flower", "grace_hopper", "grass", "gravel",
    "motorcycle_left", "retina",
)  # fmt: skip
"""Those that installed packages carry, without the benchmarks' and what are no views of things."""
SIDE = 256
"""Of the middle of each that is looked at, pixels."""
DIGITS = 3
"""Those that are kept, so that another machine's rounding makes no other network."""


def write(folder: Path) -> None:
    """Adds `level_std` to features/config.json, which features.load divides F^1..F^3 by."""
    path = folder / "config.json"
    config = files.read_json(path)
    config.pop("level_std", None)
    files.write_json(path, config)
    files.write_json(path, config | {"level_std": spread(features.load(folder))})


@torch.inference_mode()
def spread(network: Features) -> list[float]:
    """Standard deviation of F^1..F^3 in a channel, over photographs: root mean square of channels.

    That divides a level to a mean variance of 1. Its mean stays: heads have biases.
    """
    seen = [network(_middle(name)) for name in PHOTOGRAPHS]
    levels = (torch.cat(maps) for maps in zip(*seen, strict=True))
    found = (float(level.var((0, 2, 3)).mean().sqrt()) for level in levels)
    return [float(f"{value:.{DIGITS}g}") for value in found]


def _middle(name: str) -> torch.Tensor:
    """The middle of a photograph, (1, 3, SIDE, SIDE) in [-1, 1]."""
    picture = images.read_rgb(photographs.locate(name))
    top, left = ((side - SIDE) // 2 for side in picture.shape[:2])
    cut = torch.from_numpy(picture[top : top + SIDE, left : left + SIDE])
    return cut.permute(2, 0, 1)[None].float() / 127.5 - 1

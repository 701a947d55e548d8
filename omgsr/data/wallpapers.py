"""Photographs of Debian's wallpaper packages, to train a small foundation on.

Their authors and terms are in wallpapers.csv. `make photographs` fetches the packages and unpacks
them, without installing anything, into data/photographs; any folder where they are unpacked will
do, and / is where they are installed. None of them is part of this repository or of a benchmark.
"""

import csv
import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from omgsr.core import images
from omgsr.core.wording import some

with open(Path(__file__).with_suffix(".csv"), encoding="utf-8", newline="") as _table:
    WALLPAPERS = {row["name"]: row for row in csv.DictReader(_table)}
"""Name => its row of wallpapers.csv: the file below the root of a package, author and licence."""
PACKAGES = tuple(dict.fromkeys(row["package"] for row in WALLPAPERS.values()))
"""The packages that hold them."""
SHORTER = 1000
"""Pixels that the shorter side has at most when it is reduced."""


def locate(folder: Path) -> dict[str, Path]:
    """Name => file of all of them in a folder where the packages are unpacked.

    Raises FileNotFoundError that says how to get what is missing: weights that were trained on
    other photographs are other weights.
    """
    found = {name: folder / row["file"] for name, row in WALLPAPERS.items()}
    missing = [name for name, path in found.items() if not path.is_file()]
    if missing:
        packages = dict.fromkeys(WALLPAPERS[name]["package"] for name in missing)
        raise FileNotFoundError(
            f"{folder}: lacks {len(missing)} of {len(found)} photographs ({some(missing, 3)}) of "
            f"Debian's packages {', '.join(packages)}; `make photographs` unpacks these into "
            "data/photographs"
        )
    return found


def read(path: Path) -> NDArray[np.uint8]:
    """A photograph reduced by area, (H, W, 3): by 2 or by what leaves SHORTER pixels or less.

    That removes what JPEG and the sensor's noise have left.
    """
    picture = images.read_rgb(path)
    height, width = picture.shape[:2]
    factor = max(2, math.ceil(min(height, width) / SHORTER))
    size = (width // factor, height // factor)
    reduced: NDArray[np.uint8] = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return reduced

"""Sizes and borders of what is restored: any size in, exactly the asked size out."""

from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omgsr.inference.method import Size

Pixels = TypeVar("Pixels", bound=np.generic)
Filter = Literal["bicubic", "lanczos"]
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}
LONGEST = 8
"""Enlarged to a side that the model knows, an image is at most as many times as long as that."""


def resize(image: NDArray[Pixels], size: Size, kind: Filter = "bicubic") -> NDArray[Pixels]:
    """As Pillow computes it: (h, w, 3) => (H, W, 3) of the same kind of numbers.

    uint8 as a picture; uint16 and float32 channel by channel in floating point. Where a side is
    reduced, every pixel of it counts.
    """
    if image.shape[:2] == size:
        return image
    target, how = (size[1], size[0]), _FILTERS[kind]
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).resize(target, how)).astype(image.dtype)
    out = np.empty((*size, image.shape[2]), image.dtype)
    for channel in range(image.shape[2]):
        plane = Image.fromarray(image[..., channel].astype(np.float32))
        values = np.asarray(plane.resize(target, how))
        if out.dtype == np.uint16:
            values = np.clip(np.rint(values), 0, 65535)
        out[..., channel] = values
    return out


def working_size(size: Size, least: int | None) -> Size:
    """The size to restore at: `size`, or in proportion larger until no side is below `least`.

    The longer side stays below LONGEST * least, so that a line of pixels is not made a wall.
    """
    if least is None or min(size) >= least:
        return size
    factor = min(least / min(size), max(LONGEST * least / max(size), 1))
    return round(size[0] * factor), round(size[1] * factor)


def pad(image: NDArray[Pixels], multiple: int) -> NDArray[Pixels]:
    """Extends bottom and right to multiples: by reflection where the image is large enough."""
    height, width = image.shape[:2]
    down, right = -height % multiple, -width % multiple
    if not down and not right:
        return image
    mode = "reflect" if down < height and right < width else "edge"
    return np.pad(image, ((0, down), (0, right), (0, 0)), mode)  # type: ignore[call-overload]

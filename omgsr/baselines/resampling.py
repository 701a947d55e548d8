"""The interpolations that every restoration is compared with: Pillow's bicubic and Lanczos."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omgsr.inference import scaling
from omgsr.inference.method import Size
from omgsr.inference.scaling import Filter


class Resampling:
    """A filter of Pillow as a method; where a side shrinks, the filter widens with it."""

    def __init__(self, kind: Filter) -> None:
        self.kind: Filter = kind

    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        """Images uint8 or uint16 (h, w, 3) => float32 (H, W, 3) in [0, 1] of exactly `size`.

        uint8 is computed in 8 bits, as everybody's bicubic of Pillow is: times 255 the result is
        whole numbers. uint16 is computed in float.
        """
        floats = (image if image.dtype == np.uint8 else unit(image) for image in batch)
        resized = (scaling.resize(image, size, self.kind) for image in floats)
        return [unit(image) if image.dtype == np.uint8 else image.clip(0, 1) for image in resized]


def unit(image: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels uint8 or uint16 (h, w, 3) => float32 in [0, 1]."""
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected uint8 or uint16 (h, w, 3), got {image.dtype} {image.shape}")
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)

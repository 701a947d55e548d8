"""The interpolations that every restoration is compared with: Pillow's bicubic and Lanczos."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omgsr.inference.method import Size

Filter = Literal["bicubic", "lanczos"]
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


class Resampling:
    """A filter of Pillow as a method; where a side shrinks, the filter widens with it."""

    def __init__(self, kind: Filter) -> None:
        self.kind: Filter = kind

    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        """Images uint8 or uint16 (h, w, 3) => float32 (H, W, 3) in [0, 1] of exactly `size`.

        uint8 is computed in 8 bits, as everybody's bicubic of Pillow is: times 255 the result is
        whole numbers. uint16 is computed in float.
        """
        return [self._one(image, size) for image in batch]

    def _one(self, image: NDArray[Any], size: Size) -> NDArray[np.float32]:
        if image.dtype == np.uint8:
            resized = Image.fromarray(image).resize((size[1], size[0]), _FILTERS[self.kind])
            return np.asarray(resized, np.float32) / np.float32(255)
        return resize(unit(image), size, self.kind)


def unit(image: NDArray[Any]) -> NDArray[np.float32]:
    """Pixels uint8 or uint16 (h, w, 3) => float32 in [0, 1]."""
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"expected uint8 or uint16 (h, w, 3), got {image.dtype} {image.shape}")
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def resize(image: NDArray[np.float32], size: Size, kind: Filter) -> NDArray[np.float32]:
    """Each channel in float: (h, w, 3) in [0, 1] => (H, W, 3) of `size`, limited to [0, 1]."""
    channels = [
        np.asarray(Image.fromarray(channel).resize((size[1], size[0]), _FILTERS[kind]))
        for channel in np.ascontiguousarray(image.transpose(2, 0, 1))
    ]
    return np.stack(channels, axis=2).clip(0, 1)

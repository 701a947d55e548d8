"""The one interface of everything that restores an image: OMGSR and the methods beside it."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
"""Height and width, pixels."""


class Method(Protocol):
    """Restores images, whatever model or formula it does that with."""

    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        """Images uint8 or uint16 (h, w, 3) of one shape => float32 (H, W, 3) in [0, 1] of exactly
        `size`.
        """

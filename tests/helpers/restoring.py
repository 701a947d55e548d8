"""Images of one shape restored by a generator, as the benchmarks are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from omgsr.inference.color import Alignment
from omgsr.inference.restore import OneStep
from omgsr.method.generator import Generator

Image = NDArray[np.uint8]


def restore(
    generator: Generator, image: Image, scale: int, how: Alignment = "adain", seed: int = 0
) -> Image:
    """uint8 (h, w, 3) => uint8 (scale h, scale w, 3)."""
    return restore_batch(generator, [image], scale, how, seed)[0]


def restore_batch(
    generator: Generator, batch: Sequence[Image], scale: int, how: Alignment = "adain",
    seed: int = 0,
) -> list[Image]:  # fmt: skip
    """Restores images of one shape together."""
    height, width = batch[0].shape[:2]
    restored = OneStep(generator, color=how, seed=seed)(batch, (height * scale, width * scale))
    return [np.rint(image * 255).astype(np.uint8) for image in restored]

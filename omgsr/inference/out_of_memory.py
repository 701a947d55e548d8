"""Work that goes on where memory runs out: image by image, then by tiles of half the side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch

from omgsr.inference import memory_budget
from omgsr.inference.tiling import Tiling

Image = TypeVar("Image")
Result = TypeVar("Result")


def within_memory(
    run: Callable[[Sequence[Image], Tiling], list[Result]],
    images: Sequence[Image],
    tiling: Tiling,
    size: tuple[int, int],
    *,
    device: torch.device,
    notes: list[str],
    scale: int = 1,
) -> list[Result]:
    """What `run` gives for images of one `size` (height, width of what is cut), in as many parts
    and as small tiles as it takes; `notes` say so, in pixels of the result, `scale` times as many.

    Raises MemoryError where even small tiles are too large.
    """
    while True:
        try:
            return run(images, tiling)
        except Exception as error:
            if not memory_budget.is_exhaustion(error):
                raise
        memory_budget.release(device)  # only here does no traceback hold tensors any more
        if len(images) > 1:
            notes.append(f"out of memory: {len(images)} images restored one by one")
            again: Callable[..., list[Result]] = partial(
                within_memory, run, device=device, notes=notes, scale=scale
            )
            alone = (images[i : i + 1] for i in range(len(images)))
            return [made for one in alone for made in again(one, tiling, size)]
        tiling = _smaller(tiling, size, device, scale)
        notes.append(f"out of memory: went on with tiles of {tiling.tile * scale} pixels")


def _smaller(tiling: Tiling, size: tuple[int, int], device: torch.device, scale: int) -> Tiling:
    """Half the tile, or less where the image was as large as four of that half."""
    least = min(tiling.tile // 2, math.isqrt(math.prod(size)) // 4)
    side = least // tiling.step * tiling.step
    if side * scale < min(memory_budget.SMALLEST, tiling.tile * scale):
        height, width = size
        raise MemoryError(
            f"{width * scale} x {height * scale} pixels take more memory than {device} has free, "
            f"even by tiles of {tiling.tile * scale} pixels; close other programs or use another "
            "device"
        )
    return replace(tiling, tile=side, overlap=tiling.overlap * side // tiling.tile)

"""Tiles as large as memory takes; where it runs out, images go one by one and tiles are halved."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch

from omgsr.inference import memory_budget
from omgsr.inference.method import Size
from omgsr.inference.tiling import Tiling

Image = TypeVar("Image")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class MemoryTiles:
    """The tiles of a network whose result is `scale` times as large as what is cut."""

    device: torch.device
    pixel: int
    """Bytes that the network takes for a pixel of the result."""
    step: int
    """Sides of tiles are multiples of it, pixels of what is cut."""
    scale: int = 1
    tile: int | None = None
    """Side that is asked for, pixels of the result; by default memory takes four of them."""
    overlap: int | None = None
    """Of neighbours, pixels of the result; by default a quarter of a tile."""
    memory: float | None = None
    """GiB; by default SHARE of what is free now."""
    batch: int = 1
    """Tiles computed at once."""
    notes: list[str]
    """Gets a line where memory has run out, in pixels of the result."""
    free: float = field(init=False)
    """What tiles may take, bytes."""

    def __post_init__(self) -> None:
        if self.tile is not None:
            self._tiling(self.tile, self.overlap)  # refuses an overlap that does not fit
        free = memory_budget.SHARE * memory_budget.free(self.device)
        object.__setattr__(self, "free", free if self.memory is None else self.memory * 2**30)

    def run(
        self,
        function: Callable[[Sequence[Image], Tiling], list[Result]],
        images: Sequence[Image],
        size: Size,
        buffers: int,
    ) -> list[Result]:
        """What `function` gives for images of one `size` (of what is cut), some of them at a time.

        `buffers` are bytes on the CPU beside the network. Raises MemoryError where even small
        tiles are too large.
        """
        memory = self.free - (buffers if self.device.type == "cpu" else 0)
        together = max(int(memory / (self.pixel * math.prod(size) * self.scale**2)), 1)
        asked = None if self.tile is None else self._tiling(self.tile, self.overlap)
        tiling = asked or self._fitting(memory)
        parts = (images[first : first + together] for first in range(0, len(images), together))
        return [made for part in parts for made in self._within(function, part, tiling, size)]

    def _fitting(self, memory: float) -> Tiling:
        side = memory_budget.largest_tile(memory, self.pixel, self.step * self.scale)
        fits = self.overlap is not None and self.overlap < side
        return self._tiling(side, self.overlap if fits else None)

    def _tiling(self, tile: int, overlap: int | None) -> Tiling:
        """Tiles of the greatest side that the network takes and that is not above `tile`."""
        side = max(tile // (self.step * self.scale), 1) * self.step
        least = side // 4 if overlap is None else -(-overlap // self.scale)
        return Tiling(tile=side, overlap=least, step=self.step, batch=self.batch)

    def _within(
        self,
        function: Callable[[Sequence[Image], Tiling], list[Result]],
        images: Sequence[Image],
        tiling: Tiling,
        size: Size,
    ) -> list[Result]:
        """In as many parts and as small tiles as it takes."""
        while True:
            try:
                return function(images, tiling)
            except Exception as error:
                if not memory_budget.is_exhaustion(error):
                    raise
            memory_budget.release(self.device)  # only here does no traceback hold tensors any more
            if len(images) > 1:
                self.notes.append(f"out of memory: {len(images)} images restored one by one")
                alone = (images[i : i + 1] for i in range(len(images)))
                return [made for one in alone for made in self._within(function, one, tiling, size)]
            tiling = self._smaller(tiling, size)
            side = tiling.tile * self.scale
            self.notes.append(f"out of memory: went on with tiles of {side} pixels")

    def _smaller(self, tiling: Tiling, size: Size) -> Tiling:
        """Half the tile, or less where the image was as large as four of that half."""
        least = min(tiling.tile // 2, math.isqrt(math.prod(size)) // 4)
        side, before = least // tiling.step * tiling.step, tiling.tile * self.scale
        if side * self.scale < min(memory_budget.SMALLEST, before):
            raise MemoryError(
                f"{size[1] * self.scale} x {size[0] * self.scale} pixels take more memory than "
                f"{self.device} has free, even by tiles of {before} pixels; close other programs "
                "or use another device"
            )
        return replace(tiling, tile=side, overlap=tiling.overlap * side // tiling.tile)

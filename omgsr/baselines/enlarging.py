"""A convolutional network that enlarges images, over images of any size, within the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from omgsr.inference import memory_budget
from omgsr.inference.out_of_memory import within_memory
from omgsr.inference.tiling import Tiling, tiled

WHOLE = 4
"""Tiles whose area a result may have and not be tiled."""
ON_DEVICE = 4096 * 4096
"""Pixels of the largest tiled result that is put together on a GPU."""
BUFFERS = 24
"""Bytes that a result takes on the CPU for each of its pixels, beside the network."""


class Enlarger:
    """A network as a function of images of any size, whole or by tiles (omgsr/inference/tiling.py).

    Sides of tiles and their overlap are pixels of the result.
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        scale: int,
        *,
        step: int,
        pixel: int,
        device: torch.device,
        tile: int | None = None,
        overlap: int | None = None,
        memory: float | None = None,
    ) -> None:
        """The network takes sides that are multiples of `step` and `pixel` bytes for a pixel of the
        result. By default a tile is the side of which `memory` takes four (in GiB; 0.6 of what is
        free), and the overlap is a quarter of it.
        """
        self.network, self.scale, self.step, self.pixel = network, scale, step, pixel
        self.device, self.notes = device, list[str]()
        self.tile_used: int | None = None
        """Side of the tiles of the last images; None if there were none."""
        free = (
            memory_budget.SHARE * memory_budget.free(device) if memory is None else memory * 2**30
        )
        self._memory, self._overlap = free, overlap
        self._asked = None if tile is None else self._tiling(tile, overlap)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) => (B, 3, scale h, scale w), fp32; sides are multiples of `step`.

        Where memory runs out, images go one by one and tiles are halved. Raises MemoryError where
        even small tiles are too large.
        """
        area = x.shape[2] * x.shape[3] * self.scale**2
        memory = self._memory - (BUFFERS * area * len(x) if self.device.type == "cpu" else 0)
        together = max(int(memory / (self.pixel * area)), 1)
        tiling = self._asked or self._fitting(memory)
        done = [
            part
            for some in x.split(together)
            for part in within_memory(
                self._enlarged,
                some.split(1),
                tiling,
                (x.shape[2], x.shape[3]),
                device=self.device,
                notes=self.notes,
                scale=self.scale,
            )
        ]
        return _joined(done)

    def _fitting(self, memory: float) -> Tiling:
        side = memory_budget.largest_tile(memory, self.pixel, self.step * self.scale)
        fits = self._overlap is not None and self._overlap < side
        return self._tiling(side, self._overlap if fits else None)

    def _tiling(self, tile: int, overlap: int | None) -> Tiling:
        """In pixels of what is cut, of the greatest side that is not above `tile`."""
        side = max(tile // (self.step * self.scale), 1) * self.step
        least = side // 4 if overlap is None else -(-overlap // self.scale)
        return Tiling(tile=side, overlap=least, step=self.step)

    def _enlarged(self, images: Sequence[Tensor], tiling: Tiling) -> list[Tensor]:
        height, width = images[0].shape[2:]
        if height * width <= WHOLE * tiling.tile**2:
            self.tile_used = None
            return [self.network(_joined(images)).float()]
        self.tile_used = tiling.tile * self.scale
        on_device = height * width * self.scale**2 <= ON_DEVICE
        store = self.device if on_device else torch.device("cpu")
        factor, run = Fraction(self.scale), lambda tiles, _: self.network(tiles)
        return [tiled(run, one, tiling, factor, store) for one in images]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """One batch; a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))

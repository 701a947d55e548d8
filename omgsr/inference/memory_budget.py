"""Tiles as large as memory takes; where it runs out, images go one by one and tiles are halved."""

import math
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from accelerate.utils.memory import clear_device_cache

from omgsr.core.exhaustion import is_exhaustion
from omgsr.inference.method import Size
from omgsr.inference.tiling import Tiling

Image = TypeVar("Image")
Result = TypeVar("Result")
Function = Callable[[Sequence[Image], Tiling], list[Result]]

SHARE = 0.6
"""Of the free memory, what tiles may take."""
LARGEST = 512
"""Side of the largest tile that is chosen, pixels: that of the training images of OMGSR-S."""
SMALLEST = 64
"""Side below which tiles are not halved, pixels."""
_GROUPS = {
    Path("/sys/fs/cgroup"): ("memory.max", "memory.current"),
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


@dataclass(kw_only=True)
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
    largest: int = LARGEST
    """Side above which none is chosen, pixels of the result: the size that a model knows best."""
    batch: int = 1
    notes: list[str]
    """Gets a line where memory has run out, in pixels of the result."""
    free: float = field(init=False)
    """What tiles may take, bytes."""

    def __post_init__(self) -> None:
        if self.tile is not None:
            self._tiling(self.tile, self.overlap)  # refuses an overlap that does not fit
        self.free = SHARE * free(self.device)

    def run(
        self, function: Function[Image, Result], images: Sequence[Image], size: Size, buffers: int
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
        side = largest_tile(memory, self.pixel, self.step * self.scale, self.largest)
        fits = self.overlap is not None and self.overlap < side
        return self._tiling(side, self.overlap if fits else None)

    def _tiling(self, tile: int, overlap: int | None) -> Tiling:
        """Tiles of the greatest side that the network takes and that is not above `tile`."""
        side = max(tile // (self.step * self.scale), 1) * self.step
        least = side // 4 if overlap is None else -(-overlap // self.scale)
        return Tiling(tile=side, overlap=least, step=self.step, batch=self.batch)

    def _within(
        self, function: Function[Image, Result], images: Sequence[Image], tiling: Tiling, size: Size
    ) -> list[Result]:
        """In as many parts and as small tiles as it takes."""
        while True:
            try:
                return function(images, tiling)
            except Exception as error:
                if not is_exhaustion(error):
                    raise
            # Only here does no traceback hold tensors any more.
            clear_device_cache(garbage_collection=True)
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
        if side * self.scale < min(SMALLEST, before):
            raise MemoryError(
                f"{size[1] * self.scale} x {size[0] * self.scale} pixels take more memory than "
                f"{self.device} has free, even by tiles of {before} pixels; close other programs "
                "or use another device"
            )
        return replace(tiling, tile=side, overlap=tiling.overlap * side // tiling.tile)


def free(device: torch.device) -> int:
    """Free memory of a device, bytes: of its own, or what this process may still take."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    limits = (psutil.virtual_memory().available, _group_limit(), _address_limit())
    return min(limit for limit in limits if limit is not None)


def bytes_per_pixel(width: int, dtype: torch.dtype) -> int:
    """What encoder, denoiser and decoder take at once for a pixel of the image, at most.

    The decoder's last level decides, which gets `width` channels, as many as the level below it
    has: five times its input are there at once. benchmarks/tiling.py measures it.
    """
    return 5 * width * dtype.itemsize


def largest_tile(memory: float, pixel: int, multiple: int, largest: int = LARGEST) -> int:
    """Side of the tile of which four take `memory` bytes, `largest` at most, SMALLEST at least."""
    side = min(int(math.sqrt(max(memory, 0) / pixel) / 2), largest)
    return max(side // multiple, -(-SMALLEST // multiple)) * multiple


def _group_limit() -> int | None:
    """What is left of a container's limit."""
    for folder, names in _GROUPS.items():
        try:
            limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names)
        except (OSError, ValueError):  # no such file, or `max`
            continue
        return max(limit - used, 0)
    return None


def _address_limit() -> int | None:
    """What is left of `ulimit -v`."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    return max(limit - psutil.Process().memory_info().vms, 0)

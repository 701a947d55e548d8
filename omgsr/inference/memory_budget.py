"""How much memory there is, and how large a tile it takes."""

from __future__ import annotations

import gc
import math
import os
import re
import resource
from pathlib import Path
from typing import Any

import torch

SHARE = 0.6
"""Of the free memory, what tiles may take."""
LARGEST = 512
"""Side of the largest tile that is chosen, pixels: that of the paper's training images."""
SMALLEST = 64
"""Side below which tiles are not halved, pixels."""
UNKNOWN = 4 * 2**30
"""What is taken for free where the machine does not say, bytes."""
# oneDNN says no more than that a primitive failed; of one that it has not, it says "descriptor".
_EXHAUSTED = re.compile(
    "not enough memory|out of memory|can't allocate memory"
    "|could not (create|execute) a primitive(?! descriptor)"
)
_GROUPS = {
    Path("/sys/fs/cgroup"): ("memory.max", "memory.current"),
    Path("/sys/fs/cgroup/memory"): ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}


def free(device: torch.device) -> int:
    """Free memory of a device, bytes: of its own, or what this process may still take."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    limits = (_available(), _group_limit(), _address_limit())
    return min((limit for limit in limits if limit is not None), default=UNKNOWN)


def bytes_per_pixel(config: Any, dtype: torch.dtype) -> int:
    """What encoder, denoiser and decoder take at once for a pixel of the image, at most.

    The decoder's last level decides, which gets as many channels as the level below it has: five
    times its input are there at once. benchmarks/tiling.py measures it.
    """
    channels = config.block_out_channels
    return 5 * int(channels[min(1, len(channels) - 1)]) * dtype.itemsize


def largest_tile(memory: float, pixel: int, multiple: int) -> int:
    """Side of the tile of which four take `memory` bytes, LARGEST at most and SMALLEST at least."""
    side = min(int(math.sqrt(max(memory, 0) / pixel) / 2), LARGEST)
    return max(side // multiple, -(-SMALLEST // multiple)) * multiple


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on a GPU or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _EXHAUSTED.search(str(error)) is not None


def release(device: torch.device) -> None:
    """Gives back what is held and not used, after memory has run out."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def _available() -> int | None:
    """What Linux says is available; elsewhere half of the machine's memory."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        pages = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} & set(getattr(os, "sysconf_names", ()))
        return math.prod(os.sysconf(name) for name in pages) // 2 if len(pages) == 2 else None


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
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        pages = 0
    return max(limit - pages * resource.getpagesize(), 0)

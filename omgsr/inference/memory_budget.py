"""How much memory there is, and how large a tile it takes."""

import gc
import math
import re
import resource
from pathlib import Path
from typing import Any

import psutil
import torch

SHARE = 0.6
"""Of the free memory, what tiles may take."""
LARGEST = 512
"""Side of the largest tile that is chosen, pixels: that of the paper's training images."""
SMALLEST = 64
"""Side below which tiles are not halved, pixels."""
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
    limits = (psutil.virtual_memory().available, _group_limit(), _address_limit())
    return min(limit for limit in limits if limit is not None)


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

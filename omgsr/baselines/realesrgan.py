"""Real-ESRGAN (Wang et al., 2021) as a method: its network makes one size, Lanczos any other."""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from omgsr.baselines import resampling, rrdbnet
from omgsr.inference import scaling
from omgsr.inference.chain import WHOLE
from omgsr.inference.memory_budget import MemoryTiles
from omgsr.inference.method import Size
from omgsr.inference.restore import ON_DEVICE
from omgsr.inference.tiling import Tiling, tiled

MAPS = 4
"""Feature maps of the result's size that the network holds at once: 3.5, measured on a CPU."""
BUFFERS = 24
"""Bytes that a result takes on the CPU for each of its pixels, beside the network."""
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class RealESRGAN:
    """An RRDBNet that enlarges by `scale`, over images of any size, whole or by tiles."""

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device | str = "cpu",
        dtype: Literal["fp32", "bf16"] = "fp32",
        tile: int | None = None,
        overlap: int | None = None,
        memory: float | None = None,
    ) -> None:
        """`tile` and `overlap` are pixels of the network's result: by default the side of which
        memory takes four, and a quarter of it. `memory` is in GiB, by default 0.6 of what is free.
        """
        if dtype not in _DTYPES:
            raise ValueError(f"dtype: got {dtype!r}, allowed: {', '.join(_DTYPES)}")
        self.dtype, self.device = _DTYPES[dtype], torch.device(device)
        self.network = network.to(self.device, self.dtype).eval().requires_grad_(False)
        self.scale: int = network.scale  # type: ignore[assignment]
        features: int = network.conv_first.out_channels  # type: ignore[assignment, union-attr]
        self.notes: list[str] = []
        """What a user should know: memory that ran out."""
        self.tile_used: int | None = None
        """Side of the tiles of the last images, pixels of the network's result; None without."""
        self._step = 4 // self.scale  # what the pixel-unshuffle takes
        self._tiles = MemoryTiles(
            device=self.device, pixel=MAPS * features * self.dtype.itemsize, step=self._step,
            scale=self.scale, tile=tile, overlap=overlap, memory=memory, notes=self.notes,
        )  # fmt: skip

    @classmethod
    def from_file(cls, path: Path | str, **options: Any) -> Self:
        """From a released .pth or the same weights as .safetensors; rrdbnet.py has the errors."""
        path = Path(path)
        return cls(rrdbnet.build(rrdbnet.read(path), path), **options)

    @torch.inference_mode()
    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        """Images uint8 or uint16 (h, w, 3) of one shape => float32 (H, W, 3) in [0, 1].

        Large ones are tiled. Raises MemoryError where even small tiles are too large.
        """
        padded = [scaling.pad(resampling.unit(image), self._step) for image in batch]
        tall, wide = padded[0].shape[:2]
        buffers = BUFFERS * tall * wide * self.scale**2 * len(batch)
        made = self._tiles.run(self._run, padded, (tall, wide), buffers)
        height, width = (side * self.scale for side in batch[0].shape[:2])
        whole = [image[:height, :width] for image in made]
        return [scaling.resize(image, size, "lanczos").clip(0, 1) for image in whole]

    def _run(
        self, images: Sequence[NDArray[np.float32]], tiling: Tiling
    ) -> list[NDArray[np.float32]]:
        """Images (h, w, 3) in [0, 1] of sides that the network takes => enlarged, in [0, 1]."""
        x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self.device, self.dtype)
        area = math.prod(x.shape[2:])
        if area <= WHOLE * tiling.tile**2:
            self.tile_used, parts = None, [self.network(x).float()]
        else:
            self.tile_used, factor = tiling.tile * self.scale, Fraction(self.scale)
            store = self.device if area * self.scale**2 <= ON_DEVICE else torch.device("cpu")
            parts = [
                tiled(lambda tiles, _: self.network(tiles), one, tiling, factor, store)
                for one in x.split(1)
            ]
        restored = (image for part in parts for image in part.clamp_(0, 1).permute(0, 2, 3, 1))
        return [image.cpu().numpy() for image in restored]

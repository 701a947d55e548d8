"""Restoration by OMGSR: images of any size => images of exactly the asked size, in one step."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from omgsr.core import seeding
from omgsr.inference import color, memory_budget, scaling
from omgsr.inference.chain import Chain, View
from omgsr.inference.color import Alignment
from omgsr.inference.memory_budget import MemoryTiles
from omgsr.inference.method import Size
from omgsr.inference.precision import DTYPES, Precision, unit
from omgsr.inference.tiling import Tiling
from omgsr.method.generator import Generator

ON_DEVICE = 4096 * 4096
"""Pixels of the largest restored image that is put together on a GPU."""
BUFFERS = 36
"""Bytes that an image takes on the CPU for each of its pixels, beside the networks."""


class OneStep:
    """A generator as a method: takes images as files hold them, gives images of any size.

    Large images are tiled (chain.py). The networks then take the memory of four tiles, for
    any size of the image; beside it there are a few copies of the image on the CPU.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        color: Alignment = "adain",
        tile: int | None = None,
        overlap: int | None = None,
        process_size: int | None = None,
        dtype: Precision = "fp32",
        seed: int = 0,
        view: View = "image",
        workers: int | None = None,
    ) -> None:
        """`tile` and `overlap` are pixels of the result: by default the side of which 0.6 of the
        free memory takes four, and a quarter of it.

        Where a side of the result is below `process_size`, it is restored larger and reduced.
        With `workers`, a CPU computes small images one on each core, so many of them side by side:
        the images of a batch then take less time, an image alone takes more, and the result of an
        image does not depend on its batch to the last bit.

        `view: tile` shows the denoiser nothing but the tile, as tiled diffusion does. Another
        `dtype` than fp32 casts the generator's weights. Merge its adapters before
        (omgsr.inference.benchmarks.merge): the pictures are the same and take less time.
        """
        if dtype not in DTYPES:
            raise ValueError(f"dtype: got {dtype!r}, allowed: {', '.join(DTYPES)}")
        self.color, self.process_size, self.seed = color, process_size, seed
        self.notes: list[str] = []
        """What a user should know: overflows, memory that ran out."""
        self.tile_used: int | None = None
        """Side of the tiles of the last images; None if there were none."""
        on_cpu = generator.backbone.shift.device.type == "cpu"
        self._chain = Chain(generator, dtype, view, self.notes, workers if on_cpu else None)
        self._device, self._backbone = self._chain.device, generator.backbone
        self._tiles = MemoryTiles(
            device=self._device, step=self._backbone.alignment, tile=tile, overlap=overlap,
            notes=self.notes, largest=self._backbone.resolution,
            pixel=memory_budget.bytes_per_pixel(self._backbone.decoder_width, DTYPES[dtype]),
            batch=1 if on_cpu else 4,  # as much as the look at the whole image
        )  # fmt: skip

    @torch.inference_mode()
    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        """Images uint8 or uint16 (h, w, 3) of one shape => float32 (H, W, 3) in [0, 1] of `size`.

        The result does not depend on the grouping. Raises MemoryError where even small tiles are
        too large, NonFiniteImage where the model gives no picture.
        """
        _check(batch, size)
        working = scaling.working_size(size, self.process_size)
        restore = partial(self._restore, size=working)
        restored = self._tiles.run(restore, batch, working, BUFFERS * math.prod(working))
        made = [scaling.resize(image, size) for image in restored]
        return [np.clip(image, 0, 1, out=image) for image in made]

    def _restore(
        self, batch: Sequence[NDArray[Any]], tiling: Tiling, size: Size
    ) -> list[NDArray[np.float32]]:
        """Images of one shape => of `size`, restored and coloured, float32 (H, W, 3) in [0, 1]."""
        height, width = size
        lq = [scaling.resize(image, size) for image in batch]
        multiple = tiling.step if max(size) > tiling.tile else self._backbone.multiple
        padded = np.stack([scaling.pad(image, multiple) for image in lq])
        rngs = [seeding.torch_rng(self.seed, "restore") for _ in lq]  # on every device the same
        store = self._device if height * width <= ON_DEVICE else torch.device("cpu")
        x_lq = torch.from_numpy(padded).permute(0, 3, 1, 2)
        x_sr = self._chain(x_lq, tiling, rngs, store)[..., :height, :width].clamp_(-1, 1)
        self.tile_used = tiling.tile if self._chain.tiled else None
        return [self._coloured(x_sr[i : i + 1], image) for i, image in enumerate(lq)]

    def _coloured(self, x_sr: Tensor, lq: NDArray[Any]) -> NDArray[np.float32]:
        def rows(first: int, end: int) -> Tensor:
            return unit(torch.tensor(lq[first:end]).permute(2, 0, 1)[None].to(x_sr.device))

        out = np.empty(lq.shape, np.float32)
        for first, band in color.bands(x_sr, rows, self.color):
            pixels = band.clamp(-1, 1).add_(1).div_(2)[0].permute(1, 2, 0)
            out[first : first + len(pixels)] = pixels.cpu().numpy()
        return out


def _check(batch: Sequence[NDArray[Any]], size: Size) -> None:
    if not batch or min(size) < 1:
        raise ValueError(f"nothing to restore: {len(batch)} images to a size of {size}")
    for image in batch:
        if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f"expected uint8 or uint16 (h, w, 3), got {image.dtype} {image.shape}; grey is "
                "repeated three times, alpha is restored as an image of its own"
            )
        if image.shape != batch[0].shape:
            raise ValueError(
                f"images of a batch have one shape, got {batch[0].shape} and {image.shape}"
            )

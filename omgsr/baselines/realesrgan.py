"""Real-ESRGAN (Wang et al., 2021) as a method: its network makes one size, Lanczos any other.

The network is RRDBNet of basicsr, whose file imports a registry and an arch_util that loads every
operator of basicsr, some of which no longer load. Stand-ins with the four names that it takes from
them are there while it loads.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal, Self
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from omgsr.baselines import resampling
from omgsr.core import basicsr_shim, safe_pickle
from omgsr.inference import scaling
from omgsr.inference.chain import WHOLE
from omgsr.inference.memory_budget import MemoryTiles
from omgsr.inference.method import Size
from omgsr.inference.restore import ON_DEVICE
from omgsr.inference.tiling import Tiling, tiled
from omgsr.models import weight_files

MAPS = 4
"""Feature maps of the result's size that the network holds at once: 3.5, measured on a CPU."""
BUFFERS = 24
"""Bytes that a result takes on the CPU for each of its pixels, beside the network."""
_UNSHUFFLED = {3: 4, 12: 2, 48: 1}  # channels of the first convolution => scale
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class RealESRGAN:
    """An RRDBNet that enlarges by `scale`, over images of any size, whole or by tiles.

    Sides of tiles are pixels of its result; else `tile`, `overlap`, `notes` and `tile_used` are
    those of OneStep.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        device: torch.device | str = "cpu",
        dtype: Literal["fp32", "bf16"] = "fp32",
        tile: int | None = None,
        overlap: int | None = None,
    ) -> None:
        if dtype not in _DTYPES:
            raise ValueError(f"dtype: got {dtype!r}, allowed: {', '.join(_DTYPES)}")
        self.dtype, self.device = _DTYPES[dtype], torch.device(device)
        self.network = network.to(self.device, self.dtype).eval().requires_grad_(False)
        self.scale: int = network.scale  # type: ignore[assignment]
        features: int = network.conv_first.out_channels  # type: ignore[assignment, union-attr]
        self.notes: list[str] = []
        self.tile_used: int | None = None
        self._step = 4 // self.scale  # what the pixel-unshuffle takes
        self._tiles = MemoryTiles(
            device=self.device, pixel=MAPS * features * self.dtype.itemsize, step=self._step,
            scale=self.scale, tile=tile, overlap=overlap, notes=self.notes,
        )  # fmt: skip

    @classmethod
    def from_file(cls, path: Path | str, **options: Any) -> Self:
        """From a released .pth or the same weights as .safetensors, by `read` and `build`."""
        path = Path(path)
        return cls(build(read(path), path), **options)

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


class ArchitectureError(ValueError):
    """Weights of another network than RRDBNet; the message names the file."""


@cache
def network() -> Callable[..., nn.Module]:
    """The class RRDBNet; its weights are to be loaded, they are not initialised as in training."""
    util, registry = ModuleType("arch_util"), ModuleType("registry")
    vars(util).update(
        default_init_weights=lambda *_: None,
        make_layer=lambda block, count, **kw: nn.Sequential(*(block(**kw) for _ in range(count))),
        pixel_unshuffle=lambda x, scale: pixel_unshuffle(x, scale),
    )
    vars(registry).update(ARCH_REGISTRY=SimpleNamespace(register=lambda: lambda made: made))
    beside = f"{basicsr_shim.__name__}.archs.arch_util"
    with patch.dict(sys.modules, {"basicsr.utils.registry": registry, beside: util}):
        loaded: Any = basicsr_shim.module("archs.rrdbnet_arch")
    return loaded.RRDBNet


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pth, under params_ema, params or as it is, or in a .safetensors.

    Raises FileNotFoundError for a missing file, ValueError for one that is not safe or not whole.
    """
    if path.suffix == ".safetensors":
        weight_files.check(path)
        return load_file(path)
    held = safe_pickle.load(path)
    if isinstance(held, Mapping):
        held = held.get("params_ema", held.get("params", held))
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise ArchitectureError(f"{path}: holds no weights under params_ema or params")
    return dict(held)


def build(state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """RRDBNet of the sizes that the weights have, with them: 23 blocks of 64 in x4plus and x2plus.

    Raises ArchitectureError for weights of another network.
    """
    try:
        features, channels = state["conv_first.weight"].shape[:2]
        growth = state["body.0.rdb1.conv1.weight"].shape[0]
        scale = _UNSHUFFLED[channels]
    except (KeyError, IndexError, ValueError):
        raise _another(path, f"it holds {min(state, default='nothing')}") from None
    blocks = 1 + max(int(n[1]) for n in map(re.compile(r"body\.(\d+)\.").match, state) if n)
    made = network()(
        num_in_ch=3, num_out_ch=3, scale=scale, num_feat=features, num_block=blocks,
        num_grow_ch=growth,
    )  # fmt: skip
    try:
        made.load_state_dict(state)
    except RuntimeError as error:
        raise _another(path, str(error).splitlines()[-1].strip()) from error
    return made


def _another(path: Path, reason: str) -> ArchitectureError:
    return ArchitectureError(
        f"{path}: not an RRDBNet for colour images ({reason}); supported are RealESRGAN_x4plus, "
        "RealESRNet_x4plus, RealESRGAN_x4plus_anime_6B and RealESRGAN_x2plus"
    )

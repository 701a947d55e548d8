"""Real-ESRGAN (Wang et al., 2021): basicsr's RRDBNet with the released weights.

A network of x4, x2 or x1 makes one size; any other is Lanczos of that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from omgsr.baselines import resampling, rrdbnet, safe_pickle
from omgsr.baselines.enlarging import Enlarger
from omgsr.inference.method import Size
from omgsr.models import weight_files

MAPS = 4
"""Feature maps of the result's size that the network holds at once: 3.5, measured on a CPU."""
_UNSHUFFLED = {3: 4, 12: 2, 48: 1}  # channels of the first convolution => scale
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class ArchitectureError(ValueError):
    """Weights of another network than RRDBNet; the message names the file."""


class RealESRGAN:
    """The network as a method."""

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
        self._enlarger = Enlarger(
            self.network, self.scale, step=4 // self.scale,
            pixel=MAPS * features * self.dtype.itemsize, device=self.device, tile=tile,
            overlap=overlap, memory=memory,
        )  # fmt: skip

    @property
    def notes(self) -> list[str]:
        """What a user should know: memory that ran out."""
        return self._enlarger.notes

    @property
    def tile_used(self) -> int | None:
        """Side of the tiles of the last images, pixels of the network's result; None without."""
        return self._enlarger.tile_used

    @classmethod
    def from_file(cls, path: Path | str, **options: Any) -> RealESRGAN:
        """From a released .pth, or the same weights as .safetensors; see `read` for its errors."""
        path = Path(path)
        return cls(build(read(path), path), **options)

    @torch.inference_mode()
    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        """Images uint8 or uint16 (h, w, 3) of one shape => float32 (H, W, 3) in [0, 1].

        Large ones are tiled. Raises MemoryError where even small tiles are too large.
        """
        x = torch.from_numpy(np.stack([resampling.unit(image) for image in batch]))
        x = x.permute(0, 3, 1, 2).to(self.device, self.dtype)
        restored = self._enlarge(x).clamp_(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        return [
            image if image.shape[:2] == size else resampling.resize(image, size, "lanczos")
            for image in restored
        ]

    def _enlarge(self, x: Tensor) -> Tensor:
        """(B, 3, h, w) => (B, 3, scale h, scale w), padded to what the pixel-unshuffle takes."""
        height, width = x.shape[2:]
        multiple = 4 // self.scale
        down, right = -height % multiple, -width % multiple
        mode = "reflect" if down < height and right < width else "replicate"
        padded = F.pad(x, (0, right, 0, down), mode=mode)
        return self._enlarger(padded)[..., : height * self.scale, : width * self.scale]


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
    network = rrdbnet.network()(
        num_in_ch=3, num_out_ch=3, scale=scale, num_feat=features, num_block=blocks,
        num_grow_ch=growth,
    )  # fmt: skip
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise _another(path, str(error).splitlines()[-1].strip()) from error
    return network


def _another(path: Path, reason: str) -> ArchitectureError:
    return ArchitectureError(
        f"{path}: not an RRDBNet for colour images ({reason}); supported are RealESRGAN_x4plus, "
        "RealESRNet_x4plus, RealESRGAN_x4plus_anime_6B and RealESRGAN_x2plus"
    )

"""The one-step restoration of images of any size by a generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from omgsr import color as colors
from omgsr import images, inference, seeding
from omgsr.backbones.base import Rng
from omgsr.generator import Generator
from omgsr.methods.base import Size


class OneStep:
    """A method around a generator: upscales, restores, aligns colours."""

    def __init__(
        self, generator: Generator, *, color: colors.Alignment = "adain", seed: int = 0
    ) -> None:
        """`seed` of the latents, where they are sampled."""
        self.generator, self.color, self.seed = generator, color, seed
        self.notes: list[str] = []

    @torch.inference_mode()
    def __call__(self, batch: Sequence[NDArray[Any]], size: Size) -> list[NDArray[np.float32]]:
        """uint8 (h, w, 3) of one shape => float32 (H, W, 3) in [0, 1] of exactly `size`."""
        large = [Image.fromarray(i).resize(size[::-1], Image.Resampling.BICUBIC) for i in batch]
        x_lq = torch.stack([images.to_tensor(np.array(image)) for image in large])
        x_lq = x_lq.to(self.generator.backbone.shift.device)
        rngs: Rng = [seeding.torch_rng(self.seed, "restore") for _ in batch]
        x_sr, _ = self.generator(inference.pad(x_lq, self.generator.backbone.multiple), rngs)
        x_sr = x_sr[..., : size[0], : size[1]].clamp(-1, 1)
        aligned = colors.align(x_sr, x_lq, self.color)
        unit = ((aligned + 1) / 2).clamp(0, 1)
        return [image.permute(1, 2, 0).cpu().numpy() for image in unit]

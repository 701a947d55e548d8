"""Encoder, one step, decoder (Eq. 7) over images of any size, by tiles where they are large."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omgsr.inference import scaling
from omgsr.inference.precision import Part, Precision
from omgsr.inference.tiling import Box, Tiling, tiled
from omgsr.method.generator import Generator
from omgsr.models.backbones.base import Rng

View = Literal["image", "tile"]
ALONE_NOTE = "tiles of a transformer are restored alone, as by `--view tile`"
WHOLE = 4
"""Tiles whose area an image may have and not be tiled."""
ALONE = 1024 * 1024
"""Pixels up to which an image is computed on one core, where images are computed side by side."""
LOOK = {"encoder": 4, "denoiser": 16, "decoder": 4}
"""Tiles whose area the reduced image has; the denoiser takes little memory for its area."""


class Chain:
    """The three networks of a generator, each over the whole image or over its tiles.

    A part runs over the whole image where that has the area of four tiles at most. A larger image
    is first looked at, reduced to this area (tile_context.py), so that its tiles fit together.
    A transformer counts the places of a tile's tokens from its corner, as it was trained at this
    size, and a VAE that normalises each pixel alone has nothing to look for: their tiles are alone.
    """

    def __init__(
        self,
        generator: Generator,
        precision: Precision,
        view: View,
        notes: list[str],
        workers: int | None = None,
    ) -> None:
        """`view`, `notes` and `workers` are those of OneStep (restore.py)."""
        b = self.backbone = generator.backbone
        self.device = b.shift.device
        self.generator, self.view, self._workers = generator, view, workers
        self._notes = notes
        part = partial(Part, precision=precision, notes=notes, device=self.device)
        self.encoder = part("encoder", [b.vae.encoder, b.vae.quant_conv], b.moments)
        self.denoiser = part("denoiser", [b.denoiser], lambda z: b.predict(z, generator.t))
        self.decoder = part("decoder", [b.vae.post_quant_conv, b.vae.decoder], b.paint)
        self.tiled = False
        """Whether a part of the last run was tiled."""
        self._alone: int | None = None

    def __call__(self, x_lq: Tensor, tiling: Tiling, rngs: Rng, store: torch.device) -> Tensor:
        """Upscaled LQ images => x_sr: (B, 3, H, W) in whole numbers => fp32, not clamped.

        Sides are multiples of the backbone's; `tiling` is in pixels of them. A tiled result is put
        together on the device `store`.
        """
        for part in (self.encoder, self.denoiser, self.decoder):
            part.reset()
        self.tiled = False
        self._alone = self._workers if math.prod(x_lq.shape[2:]) <= ALONE else None
        b, r = self.backbone, self.backbone.reduction
        moments = self._over(self.encoder, x_lq, tiling, Fraction(1, r), self.device)
        z_lq = b.draw(moments, self.generator.latent, rngs)
        del moments
        output = self._over(self.denoiser, z_lq, tiling.reduced(r), Fraction(1), self.device)
        z_sr = b.raw(b.schedule.predict_clean(z_lq, output, self.generator.t))
        del z_lq, output
        return self._over(self.decoder, z_sr, tiling.reduced(r), Fraction(r), store)

    def _over(
        self, part: Part, x: Tensor, tiling: Tiling, factor: Fraction, store: torch.device
    ) -> Tensor:
        """One network over a batch."""
        height, width = x.shape[2:]
        look, tile = self._looks(part), tiling.tile
        if height * width <= WHOLE * tile**2 if look else max(height, width) <= tile:
            return part(x, self._alone)
        self.tiled = True
        if part is self.denoiser and self.view == "image" and not look:
            self._notes += [] if ALONE_NOTE in self._notes else [ALONE_NOTE]
        if look:
            made = [_with_look(part, image, tiling, factor, store) for image in x.split(1)]
        else:
            made = [tiled(lambda z, _: part(z), z, tiling, factor, store) for z in x.split(1)]
        return torch.cat(made)

    def _looks(self, part: Part) -> bool:
        """Whether tiles of a network are parts of the whole image to it."""
        if part is self.denoiser:
            return self.view == "image" and self.backbone.whole_view
        return not part.context.empty


def _with_look(
    part: Part, x: Tensor, tiling: Tiling, factor: Fraction, store: torch.device
) -> Tensor:
    """Tiles that are normalised and attend as the reduced image was."""
    height, width = x.shape[2:]
    small = _reduced(x, LOOK[part.name] * tiling.tile**2, tiling.step)
    with part.context.survey(*small.shape[2:]):
        part(small)

    def function(tiles: Tensor, boxes: Sequence[Box]) -> Tensor:
        part.context.place(boxes, height, width)
        return part(tiles)

    with part.context.applied():
        return tiled(function, x, tiling, factor, store)


def _reduced(x: Tensor, area: int, step: int) -> Tensor:
    """An image or latent, (1, C, H, W), reduced to at most `area` in sides that are multiples."""
    factor = min((area / (x.shape[2] * x.shape[3])) ** 0.5, 1)
    height, width = (max(int(side * factor) // step, 1) * step for side in x.shape[2:])
    if x.is_floating_point():  # bicubic with antialiasing is not there for every device
        size = (height, width)
        return F.interpolate(x.cpu(), size, mode="bicubic", antialias=True, align_corners=False)
    image = np.ascontiguousarray(x[0].permute(1, 2, 0).numpy())
    return torch.from_numpy(scaling.resize(image, (height, width))).permute(2, 0, 1)[None]

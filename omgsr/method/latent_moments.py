"""Latent moments of LQ/HQ pairs, for t* (Eqs. 4 and 5)."""

from collections.abc import Iterator, Sequence
from itertools import groupby, repeat

import numpy as np
import torch
from torch import Tensor

from omgsr.core import images, seeding
from omgsr.core.parallel import side_by_side, threaded_map
from omgsr.data.datasets import load_pair
from omgsr.data.manifest import Row
from omgsr.method.timestep import moments
from omgsr.models.backbones.base import Backbone, Latent

Moment = tuple[str, float, float]
"""An image's name, its power P and its error N."""


@torch.inference_mode()
def pair_moments(
    backbone: Backbone, rows: Sequence[Row], scale: int, batch: int, latent: Latent, seed: int
) -> Iterator[Moment]:
    """(name, P, N) of every pair, in the order of `rows`; neighbours of one size are batched.

    The next batch is read from disk while this one is encoded. With latent `sample`, each image
    draws its own noise from (seed, name), so that P and N do not depend on the batch size.
    """
    groups = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    pixels = threaded_map(_read, groups, repeat(scale), workers=1, ahead=2)
    for group, found in zip(groups, pixels, strict=True):
        for some_rows, x_lq, x_hq in _by_size(group, found):
            z_lq, z_hq = (
                _encode(backbone, x, some_rows, latent, seed, kind)
                for x, kind in ((x_lq, "lq"), (x_hq, "hq"))
            )
            power, error = moments(z_hq, z_lq)
            names = [row.name for row in some_rows]
            yield from zip(names, power.tolist(), error.tolist(), strict=True)


def _read(rows: Sequence[Row], scale: int) -> list[tuple[Tensor, Tensor]]:
    pairs = [load_pair(row, scale) for row in rows]
    return [(images.to_tensor(images.upscale(lq, scale)), images.to_tensor(hq)) for lq, hq in pairs]


def _by_size(
    rows: Sequence[Row], pixels: list[tuple[Tensor, Tensor]]
) -> Iterator[tuple[list[Row], Tensor, Tensor]]:
    """Runs of equal size within a group, stacked."""
    pairs = ((row, lq, hq) for row, (lq, hq) in zip(rows, pixels, strict=True))
    for _, run in groupby(pairs, key=lambda pair: pair[2].shape):
        named, lq, hq = zip(*run, strict=True)
        yield list(named), torch.stack(lq), torch.stack(hq)


def _encode(
    backbone: Backbone, x: Tensor, rows: list[Row], latent: Latent, seed: int, kind: str
) -> Tensor:
    """(n, 3, H, W) => (n, C, h, w); a CPU takes an image on each core, which rounds it alike."""
    rngs = [seeding.torch_rng(seed, kind, row.name) for row in rows]
    device = backbone.shift.device
    if device.type != "cpu":
        return backbone.encode(x.to(device), latent, rngs)

    @torch.inference_mode()  # each thread has a mode of its own
    def alone(one: tuple[Tensor, torch.Generator]) -> Tensor:
        return backbone.encode(one[0], latent, [one[1]])

    items = list(zip(x.split(1), rngs, strict=True))
    return torch.cat(side_by_side(alone, items, torch.get_num_threads()))


def columns(found: Sequence[Moment]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, P (N,) and N (N,) of the moments."""
    names, power, error = zip(*found, strict=True)
    return list(names), np.array(power), np.array(error)

"""Latent moments of LQ/HQ pairs, for t* (Eqs. 4 and 5)."""

import json
import os
from collections.abc import Iterator, Sequence
from itertools import chain, groupby, repeat
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omgsr.core import images, seeding
from omgsr.core.parallel import side_by_side, threaded_map
from omgsr.data.datasets import enlarged, load_pair
from omgsr.data.manifest import Row
from omgsr.method.timestep import moments
from omgsr.models.backbones.base import Backbone, Latent

Moment = tuple[str, float, float]
"""An image's name, its power P and its error N."""


class Journal(dict[str, Moment]):
    """Finished moments by name, a line each in a file, so that a killed run continues.

    A line that a kill cut short is cut off, and its image is done again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        whole = path.read_bytes().rpartition(b"\n")[0]
        os.truncate(path, len(whole) + 1 if whole else 0)
        for name, power, error in map(json.loads, whole.splitlines()):
            self[name] = (name, power, error)

    def add(self, moment: Moment) -> None:
        """Keeps one; floats come back to the last bit."""
        self[moment[0]] = moment
        with self._path.open("ab") as file:
            file.write(json.dumps(moment).encode() + b"\n")

    def left(self, rows: Sequence[Row], batch: int) -> list[Row]:
        """The rows of every batch that is not whole: batches stay what they were."""
        groups = [rows[first : first + batch] for first in range(0, len(rows), batch)]
        return [row for group in groups if any(r.name not in self for r in group) for row in group]


@torch.inference_mode()
def pair_moments(
    backbone: Backbone, rows: Sequence[Row], scale: int, batch: int, latent: Latent, seed: int
) -> Iterator[Moment]:
    """(name, P, N) of every pair, in the order of `rows`; neighbours of one size are batched.

    The next batch is read from disk while this one is encoded. With latent `sample`, each image
    draws its own noise from (seed, name), so that P and N do not depend on the batch size.
    """
    groups = [rows[first : first + batch] for first in range(0, len(rows), batch)]
    read = threaded_map(_read, groups, repeat(scale), workers=1, ahead=2)
    for names, *pixels in chain.from_iterable(read):
        z_lq, z_hq = (
            _encode(backbone, x, names, latent, seed, kind)
            for x, kind in zip(pixels, ("lq", "hq"), strict=True)
        )
        power, error = moments(z_hq, z_lq)
        yield from zip(names, power.tolist(), error.tolist(), strict=True)


def _read(rows: Sequence[Row], scale: int) -> list[tuple[Sequence[str], Tensor, Tensor]]:
    """Names, x_L and HQ images (n, 3, H, W) of every run of equal size."""
    found: list[tuple[Sequence[str], Tensor, Tensor]] = []
    pairs = ((row, *load_pair(row, scale)) for row in rows)
    for _, run in groupby(pairs, key=lambda pair: pair[2].shape):
        same, lq, hq = zip(*run, strict=True)
        x_lq = [images.to_tensor(enlarged(*x, scale)) for x in zip(lq, same, strict=True)]
        x_hq = [images.to_tensor(x) for x in hq]
        found.append(([row.name for row in same], torch.stack(x_lq), torch.stack(x_hq)))
    return found


def _encode(
    backbone: Backbone, x: Tensor, names: Sequence[str], latent: Latent, seed: int, kind: str
) -> Tensor:
    """(n, 3, H, W) => (n, C, h, w); a CPU takes an image on each core, which rounds it alike."""
    rngs = [seeding.torch_rng(seed, kind, name) for name in names]
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

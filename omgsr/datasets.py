"""LQ/HQ pairs from disk, in an order that depends on the seed and the position alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from omgsr import images, manifest, seeding
from omgsr.manifest import Row

Pair = tuple[Tensor, Tensor]


class Pairs(Dataset[Pair]):
    """(x_lq upscaled to HQ size, x_hq), both float (3, H, W) in [-1, 1].

    An item is asked for as (position, index): `index` names the row, `position` (its place in the
    whole run) seeds the crop and the flips, so that neither workers nor a resume change it.
    """

    def __init__(self, rows: list[Row], scale: int, crop: int | None, seed: int) -> None:
        """`crop`: HQ side of a random crop, a multiple of `scale`, or None for the whole pair."""
        if not rows:
            raise ValueError("no training pairs; run `dvc repro degrade`")
        if crop is not None and crop % scale:
            raise ValueError(f"crop {crop} is not a multiple of the scale {scale}")
        self.rows, self.scale, self.crop, self.seed = rows, scale, crop, seed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: tuple[int, int]) -> Pair:
        position, index = item
        rng = seeding.rng(self.seed, "pair", position)
        lq, hq = load_pair(self.rows[index], self.scale)
        if self.crop is not None:
            lq, hq = _crop(rng, lq, hq, self.crop, self.scale, self.rows[index].name)
        if rng.random() < 0.5:
            lq, hq = lq[:, ::-1], hq[:, ::-1]
        return images.to_tensor(images.upscale(lq, self.scale)), images.to_tensor(hq)


def load_pair(row: Row, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """(LQ, HQ) of a row, uint8; the HQ must be exactly `scale` times the LQ."""
    lq, hq = manifest.load_lq(row), manifest.load_hq(row)
    if hq.shape[:2] != (lq.shape[0] * scale, lq.shape[1] * scale):
        raise ValueError(
            f"{row.name}: HQ {hq.shape[1]}x{hq.shape[0]} is not {scale} times "
            f"LQ {lq.shape[1]}x{lq.shape[0]}; run `dvc repro -f degrade`"
        )
    return lq, hq


def _crop(
    rng: np.random.Generator, lq: np.ndarray, hq: np.ndarray, crop: int, scale: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    side = crop // scale
    if min(lq.shape[:2]) < side:
        raise ValueError(f"{name}: smaller than train.crop {crop}; lower train.crop or data.crop")
    top, left = (int(rng.integers(lq.shape[axis] - side + 1)) for axis in (0, 1))
    box = np.s_[top : top + side, left : left + side]
    hq_box = np.s_[top * scale : top * scale + crop, left * scale : left * scale + crop]
    return lq[box], hq[hq_box]


class _Order(Sampler[list[tuple[int, int]]]):
    """Batches of (position, index): every epoch a new permutation of all rows, from any start."""

    def __init__(self, count: int, batch: int, first: int, last: int, seed: int) -> None:
        self.count, self.batch, self.first, self.last, self.seed = count, batch, first, last, seed

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for number in range(self.first, self.last):
            items = []
            for position in range(number * self.batch, (number + 1) * self.batch):
                if position // self.count != epoch:
                    epoch = position // self.count
                    order = seeding.rng(self.seed, "epoch", epoch).permutation(self.count)
                items.append((position, int(order[position % self.count])))
            yield items


def batches(pairs: Pairs, batch: int, first: int, last: int, workers: int) -> DataLoader[Pair]:
    """Batches number `first` to `last` - 1 of the run's endless order; `workers` load ahead."""
    order = _Order(len(pairs), batch, first, last, pairs.seed)
    return DataLoader(
        pairs,
        batch_sampler=order,
        num_workers=workers,
        persistent_workers=False,
        generator=torch.Generator().manual_seed(0),  # leaves torch's global state alone
    )

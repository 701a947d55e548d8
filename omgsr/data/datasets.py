"""LQ/HQ pairs from disk, in an order that depends on the seed and the position alone."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from omgsr.core import images, seeding
from omgsr.data import manifest
from omgsr.data.manifest import Row


class Batch(NamedTuple):
    """Pairs of one forward pass; of one pair where a dataset gives it."""

    x_lq: Tensor
    """(B, 3, H, W) in [-1, 1], upscaled to HQ size."""
    x_hq: Tensor
    """(B, 3, H, W) in [-1, 1]."""
    names: Sequence[str] | str = ()
    """Names of the pairs, for messages."""


class Pairs(Dataset[Batch]):
    """(x_lq upscaled to HQ size, x_hq, name); both images float (3, H, W) in [-1, 1].

    An item is asked for as (position, index): `index` names the row, `position` (its place in the
    whole run) seeds the crop and the flips, so that neither workers nor a resume change it.
    """

    def __init__(
        self, rows: list[Row], scale: int, crop: int | None, seed: int, flip: bool = True
    ) -> None:
        """`crop`: HQ side of a random crop, a multiple of `scale`, or None for the whole pair.

        `flip`: whether half of the pairs are mirrored.
        """
        if not rows:
            raise ValueError("no training pairs; run `dvc repro degrade`")
        if crop is not None and crop % scale:
            raise ValueError(f"crop {crop} is not a multiple of the scale {scale}")
        self.rows, self.scale, self.crop, self.seed = rows, scale, crop, seed
        self.flip = flip

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: tuple[int, int]) -> Batch:
        position, index = item
        rng = seeding.rng(self.seed, "pair", position)
        lq, hq = load_pair(self.rows[index], self.scale)
        if self.crop is not None:
            lq, hq = _crop(rng, lq, hq, self.crop, self.scale, self.rows[index].name)
        if self.flip and rng.random() < 0.5:
            lq, hq = lq[:, ::-1], hq[:, ::-1]
        x_lq = images.to_tensor(enlarged(lq, self.rows[index], self.scale))
        return Batch(x_lq, images.to_tensor(hq), self.rows[index].name)


def load_pair(row: Row, scale: int) -> tuple[np.ndarray, np.ndarray]:
    """(LQ, HQ) of a row, uint8; the HQ must be exactly `scale` times the LQ.

    Of an enlarged row the LQ is x_L already, of the HQ's size.
    """
    lq, hq = manifest.load_lq(row), manifest.load_hq(row)
    times = 1 if row.enlarged else scale
    if hq.shape[:2] != (lq.shape[0] * times, lq.shape[1] * times):
        raise ValueError(
            f"{row.name}: HQ {hq.shape[1]}x{hq.shape[0]} is not {times} times "
            f"LQ {lq.shape[1]}x{lq.shape[0]}; run `dvc repro -f degrade`"
        )
    return lq, hq


def enlarged(lq: np.ndarray, row: Row, scale: int) -> np.ndarray:
    """x_L of a row from what `load_pair` gives, or from a part of it: uint8, of the HQ's size."""
    return lq if row.enlarged else images.upscale(lq, scale)


def _crop(
    rng: np.random.Generator, lq: np.ndarray, hq: np.ndarray, crop: int, scale: int, name: str
) -> tuple[np.ndarray, np.ndarray]:
    if min(hq.shape[:2]) < crop:
        raise ValueError(f"{name}: smaller than train.crop {crop}; lower train.crop or data.crop")
    room = ((length - crop) // scale for length in hq.shape[:2])
    top, left = (int(rng.integers(one + 1)) for one in room)
    lq_unit = scale * lq.shape[0] // hq.shape[0]  # 1, or `scale` where the LQ is enlarged

    def cut(image: np.ndarray, unit: int) -> np.ndarray:
        side = crop // scale * unit
        return image[top * unit : top * unit + side, left * unit : left * unit + side]

    return cut(lq, lq_unit), cut(hq, scale)


def _order(count: int, batch: int, numbers: range, seed: int) -> Iterator[list[tuple[int, int]]]:
    """(position, index) of each numbered batch: every epoch a new permutation of all rows."""
    epoch, order = -1, np.empty(0, dtype=np.int64)
    for number in numbers:
        items = []
        for position in range(number * batch, (number + 1) * batch):
            if position // count != epoch:
                epoch = position // count
                order = seeding.rng(seed, "epoch", epoch).permutation(count)
            items.append((position, int(order[position % count])))
        yield items


def batches(pairs: Pairs, batch: int, numbers: range, workers: int) -> Iterator[Batch]:
    """The numbered batches of the run's endless order; `workers` load ahead.

    Of several processes each asks for its own numbers, so they never see the same pair twice in
    an epoch.
    """
    loader: DataLoader[Batch] = DataLoader(
        pairs,
        batch_sampler=_order(len(pairs), batch, numbers, pairs.seed),
        num_workers=workers,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(0),  # leaves torch's global state alone
    )
    return iter(loader)

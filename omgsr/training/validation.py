"""Scores while training, on images of the training set that are not trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from omgsr.data.datasets import Pairs
from omgsr.data.manifest import Row
from omgsr.evaluation.metrics import Metric
from omgsr.method.generator import Generator


def hold_out(rows: Sequence[Row], images: int) -> tuple[list[Row], list[Row]]:
    """(rows to train on, rows held out): whole HQ images, spread evenly over the set.

    All pairs of an image go together, as two crops of one photograph share their content. Raises
    ValueError where nothing would be left to train on.
    """
    names = list(dict.fromkeys(row.hq for row in rows))
    if images >= len(names):
        raise ValueError(
            f"train.validation.images: got {images}, but the training set has {len(names)} HQ "
            "images and some must be left to train on; lower it or set train.validation to null"
        )
    held = {names[i * len(names) // images] for i in range(images)}
    return [r for r in rows if r.hq not in held], [r for r in rows if r.hq in held]


class Validator:
    """The pairs held out, decoded once, whole and unflipped; restored and scored."""

    def __init__(self, rows: Sequence[Row], scale: int, metrics: Sequence[Metric]) -> None:
        whole = Pairs(list(rows), scale, None, seed=0, flip=False)
        self.pairs = [whole[0, index] for index in range(len(whole))]
        self.metrics = metrics

    @torch.inference_mode()
    def __call__(self, generator: Generator) -> dict[str, float]:
        """The mean of every metric over the pairs, as val/<metric>."""
        device = generator.backbone.shift.device
        found: dict[str, list[float]] = {f"val/{metric.name}": [] for metric in self.metrics}
        for pair in self.pairs:
            x_sr, _ = generator(pair.x_lq[None].to(device), torch.Generator().manual_seed(0))
            for metric in self.metrics:
                score = metric(_unit(x_sr), _unit(pair.x_hq[None].to(device)))
                found[f"val/{metric.name}"].append(float(score))
        return {name: sum(scores) / len(scores) for name, scores in found.items()}


def _unit(x: Tensor) -> Tensor:
    """[-1, 1] to the [0, 1] in 8-bit steps that a saved image has."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 255

"""Scores while training, on images of the training set that are not trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from omgsr.data.datasets import Batch, Pairs
from omgsr.data.manifest import Row
from omgsr.evaluation import patterns
from omgsr.evaluation.metrics import Metric
from omgsr.method.generator import Generator
from omgsr.training.processes import Processes


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
    """The pairs held out, decoded once, whole and unflipped; restored and scored.

    Every process has a share of them, and none waits for another's.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        scale: int,
        metrics: Sequence[Metric],
        processes: Processes | None = None,
    ) -> None:
        """`metrics` are on the device of the process."""
        self.processes = processes or Processes()
        whole = Pairs(list(rows), scale, None, seed=0, flip=False)
        self.count = len(whole)
        # Equally many in every process, which the shards of a denoiser need; the last may be twice.
        each = -(-self.count // self.processes.count)
        own = (self.processes.rank + i * self.processes.count for i in range(each))
        self.pairs = [whole[0, min(index, self.count - 1)] for index in own]
        self.metrics = metrics
        self.side = min(whole[0, 0].x_hq.shape[1:]) if rows else 0

    @torch.inference_mode()
    def __call__(self, generator: Generator) -> dict[str, float]:
        """The mean of every metric over the pairs of all processes, as val/<metric>.

        Of transformers val/pattern too, where the pairs are large enough for it (patterns.py). The
        same in every process, and the same bytes for any number of them.
        """
        who, names = self.processes, [metric.name for metric in self.metrics]
        backbone = generator.backbone
        if backbone.tokens and self.side >= patterns.smallest(backbone.multiple):
            names.append("pattern")
        if not names:
            return {}
        scores = [self._scores(generator, pair, "pattern" in names) for pair in self.pairs]
        own = torch.stack(scores)  # as many rows in every process
        every = who.in_order(own.to(who.device))[: self.count].T.tolist()
        return {f"val/{n}": sum(one) / len(one) for n, one in zip(names, every, strict=True)}

    def _scores(self, generator: Generator, pair: Batch, pattern: bool) -> Tensor:
        """Of one pair: (names,) in float64, computed in fp32 whatever the generator's is."""
        device = generator.backbone.shift.device
        x_sr, _ = generator(pair.x_lq[None].to(device), torch.Generator().manual_seed(0))
        with torch.autocast(device.type, enabled=False):
            sr, hq = _unit(x_sr.float()), _unit(pair.x_hq[None].to(device))
            scores = [float(metric(sr, hq)) for metric in self.metrics]
            if pattern:
                scores.append(float(patterns.pattern(sr, generator.backbone.multiple)))
        return torch.tensor(scores, dtype=torch.float64)


def _unit(x: Tensor) -> Tensor:
    """[-1, 1] to the [0, 1] in 8-bit steps that a saved image has."""
    return ((x.clamp(-1, 1) + 1) * 127.5).round() / 255

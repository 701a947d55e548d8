"""Seconds of an optimiser step of each variant, on the foundation and pairs that are here.

    python -m benchmarks.variant_step                  full and osediff_ssim, after `dvc repro`
    python -m benchmarks.variant_step no_lrr to_hq --steps 20

Variants take turns, so that what else runs here slows all of them alike; the median counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

from omgsr import config
from omgsr.data import manifest
from omgsr.data.datasets import Batch, Pairs, batches
from omgsr.experiments import Run
from omgsr.training.processes import Processes
from omgsr.training.trainer import Trainer
from stages import train


def main(names: list[str], steps: int) -> None:
    """Prints the median step of each variant and its share of the first one's."""
    settings = config.load()
    rows = manifest.read("data/pairs/train.csv")
    pairs = Pairs(rows, settings.data.scale, settings.train.crop, settings.seed)
    given = next(iter(batches(pairs, settings.train.batch, range(1), 0)))
    found: dict[str, list[float]] = {name: [] for name in names}
    trainers = {name: trainer(settings, name) for name in names}
    for turn in range(steps + 1):
        for name, one in trainers.items():
            started = time.perf_counter()
            one.update([Batch(*given)] * settings.train.accumulate)
            if turn:  # the first is slower
                found[name].append(time.perf_counter() - started)
    first = statistics.median(found[names[0]])
    for name, taken in found.items():
        middle = statistics.median(taken)
        sys.stdout.write(f"{name:14} {middle:.3f} s a step, {middle / first:.2f} of {names[0]}\n")


def trainer(settings: config.Config, variant: str) -> Trainer:
    """A fresh trainer of a variant at t = 273, as the stage `train` makes it."""
    run = Run(variant, "273", 0)
    about = train.card(settings, run, {"t": 273, "source": "given"})
    return train.trainer(settings, about, Processes())


if __name__ == "__main__":
    if not Path("data/pairs/train.csv").exists():
        sys.exit("data/pairs/train.csv is missing: run `dvc repro timestep` first")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="*", default=["full", "osediff_ssim"])
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    main(chosen.variants, chosen.steps)

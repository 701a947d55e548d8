"""Stage `infer`: the benchmarks restored by one run => runs/<run>/sr/<benchmark>/.

The run card decides timestep, prompt and latents; nothing of it can be said a second time here.
"""

import shutil
import sys
from dataclasses import fields
from pathlib import Path

import torch
from tqdm import tqdm

from omgsr import config
from omgsr.core import devices
from omgsr.data import manifest
from omgsr.inference import benchmarks, placement
from omgsr.inference.restore import OneStep
from omgsr.inference.settings import Infer
from omgsr.method import run_card
from stages import call


def main(run: str) -> None:
    """`run` is a name such as full-auto-0."""
    settings = config.load()
    scale, plan = settings.data.scale, settings.infer
    method = load(Path("runs") / run / "model", plan)

    out = Path("runs") / run / "sr"
    shutil.rmtree(out, ignore_errors=True)
    for name in settings.benchmarks:
        rows = manifest.read(f"data/pairs/{name}.csv")
        restored = benchmarks.restore_rows(method, rows, plan.batch, scale)
        saved = benchmarks.save_rows(restored, out / name)
        for _ in tqdm(saved, total=len(rows), desc=f"{run} on {name}", unit="image"):
            pass
    for note in dict.fromkeys(method.notes):
        print(f"infer: {note}", file=sys.stderr)


def load(model: Path, plan: Infer) -> OneStep:
    """The run as the profile wants it used, on the device that is there."""
    generator, _ = run_card.load(model, Path("foundation"), dtype=placement.weights(plan.dtype))
    options = {field.name: getattr(plan, field.name) for field in fields(plan)}
    del options["batch"], options["offload"]
    workers = torch.get_num_threads()  # how many does not change the pictures
    placed = placement.place(benchmarks.merge(generator), devices.pick(), plan.offload)
    return OneStep(placed, **options, workers=workers)


if __name__ == "__main__":
    call(main)

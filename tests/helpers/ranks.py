"""One of several processes of a training, started by torchrun (training/test_processes.py).

torchrun --nproc_per_node 2 -m tests.helpers.ranks <mode> <foundation> <pairs> <out>
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from omgsr.core import exact
from omgsr.data.datasets import Pairs
from omgsr.data.manifest import Row
from omgsr.evaluation import metrics
from omgsr.training import sharding
from omgsr.training.processes import Processes
from omgsr.training.session import Session
from omgsr.training.settings import Validation
from omgsr.training.trainer import NonFiniteLoss, Trainer, fit
from omgsr.training.validation import Validator
from tests.helpers import models

PLAN: dict[str, Any] = {
    "steps": 3, "batch": 1, "accumulate": 4, "gradient_norms_every": 2, "spectral_norm": True,
}  # fmt: skip
DISTILLED = {"l2": 1.0, "vsd": 1.0}
VALIDATED = {
    "validation": Validation(images=5, pairs=5, every=1, metrics=("psnr", "ssim")), "final": "psnr",
}  # fmt: skip


def trainer(foundation: Path, processes: Processes, **changes: Any) -> Trainer:
    """Of four passes a step, however many processes make them."""
    made = models.trainer(foundation, trained=0.1, **(PLAN | changes))
    return replace(made, processes=processes)


def pairs(folder: Path) -> Pairs:
    """Eight pairs, made by the test."""
    rows = [
        Row(name=f"image{i}", hq=f"{folder}/hq/image{i}.png", lq=f"{folder}/lq/image{i}.png")
        for i in range(8)
    ]
    return Pairs(rows, scale=4, crop=16, seed=3)


def seen(made: Trainer, data: Pairs) -> dict[str, Any]:
    """Everything that is compared: terms and gradients of each step, and what the steps moved.

    Gradients and movements are by part: generator, heads, regulariser; `average` moves as well.
    """
    given, steps = places(made), []
    for terms in fit(made, data):
        gradients = {
            part: [p.grad.clone() for p in parameters if p.grad is not None]
            for part, parameters in made._parts.items()
        }
        steps.append({"terms": terms, "gradients": gradients})
    moved = {
        part: [b - a for a, b in zip(given[part], now, strict=True)]
        for part, now in places(made).items()
    }
    return {"steps": steps, "moved": moved, "state": made.state_dict()}


def places(made: Trainer) -> dict[str, list[Tensor]]:
    """A copy of all trained weights by part, and of the generator's moving average."""
    parts = {part: [p.detach().clone() for p in own] for part, own in made._parts.items()}
    with made.result():
        return parts | {"average": made.adapters()}


def kept_weights(made: Trainer) -> int:
    """Numbers of the denoiser's frozen weights that lie in this process."""
    network = made.generator.backbone.denoiser
    frozen = [p for name, p in network.named_parameters() if "lora_" not in name]
    return sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in frozen)


def validated(made: Trainer, work: Path, folder: Path) -> list[dict[str, float]]:
    """The history of a training that validates after every step, on five pairs."""
    held = pairs(folder).rows[:5]
    check = Validator(held, 4, metrics.load_all(["psnr", "ssim"])[0], made.processes)
    session = Session(trainer=made, work=work, validate=check)
    list(session.follow(fit(made, pairs(folder))))
    assert session.finish()["final"] == "psnr"
    return session.history


def main(mode: str, foundation: Path, data: Path, out: Path) -> None:
    """`train`, `distil`, `validate`, `reduce` as on GPUs, `shard`, `nan`: one has a bad pair.

    `shard` trains and validates with a half of the denoiser in each process.
    """
    exact.settle()
    processes = Processes.start()
    changes: dict[str, Any] = {"distil": {"losses": DISTILLED}, "validate": VALIDATED}.get(mode, {})
    made = trainer(foundation, processes, ema=0.9, **changes)
    if mode == "reduce":
        made._one_by_one = lambda passes: False  # type: ignore[method-assign]
    if mode == "shard":
        sharding.shard(made.generator.backbone.denoiser, processes)
        found = seen(made, pairs(data)) | {"held": kept_weights(made)}
        check = Validator(pairs(data).rows[:5], 4, metrics.load_all(["psnr"])[0], processes)
        torch.save(found | check(made.generator), out / f"rank{processes.rank}.pt")
    elif mode == "validate":
        torch.save(validated(made, out, data), out / f"rank{processes.rank}.pt")
    elif mode != "nan":
        torch.save(seen(made, pairs(data)), out / f"rank{processes.rank}.pt")
    else:
        session = Session(trainer=made, work=out)
        given = models.batch(processes.rank, 1)
        if processes.rank == 1:
            given.x_hq[0, 0, 0, 0] = float("nan")

        def steps() -> Any:
            yield made.update([given, given])

        try:
            list(session.follow(steps()))
        except NonFiniteLoss as error:
            (out / f"said{processes.rank}.txt").write_text(f"{made.step} {error}")
    processes.close()


if __name__ == "__main__":
    mode, *folders = sys.argv[1:]
    main(mode, *map(Path, folders))

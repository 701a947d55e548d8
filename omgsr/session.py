"""A training run on disk: what it depends on, where it continues, what it leaves behind."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from omgsr import checkpoint, files
from omgsr.manifest import Row
from omgsr.training import Trainer

History = list[dict[str, float]]


def fingerprint(values: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """16 hex digits of all that decides the trained bytes: settings, pairs, code, torch.

    LQ images count by content, HQ images by path and size, since hashing a large data set at
    every start would take hours.
    """
    digest = hashlib.sha256(repr(sorted(values.items())).encode())
    digest.update(torch.__version__.encode())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    for row in rows:
        digest.update(f"{row}{os.path.getsize(row.hq)}".encode())
        digest.update(Path(row.lq).read_bytes())
    return digest.hexdigest()[:16]


@dataclass
class Session:
    """A trainer with its history, which survive a kill together."""

    trainer: Trainer
    work: Path
    """Folder of the checkpoint; not an output of DVC, which would delete it."""
    checkpoint_every: int
    """Steps between checkpoints."""
    log_every: int
    """Steps between rows of the history."""
    history: History = field(default_factory=list)

    def __post_init__(self) -> None:
        state = checkpoint.load(self.work)
        if state is not None:
            self.trainer.load_state_dict(state["trainer"])
            self.history = state["history"]

    def follow(self, steps: Iterator[dict[str, float]]) -> Iterator[dict[str, float]]:
        """Passes the steps on; keeps every `log_every`-th, saves every `checkpoint_every`-th.

        A checkpoint is written when the next step is asked for: what the caller does with a step
        (a preview, a log line) is done before it, and so is not lost to a kill in between.
        """
        for terms in steps:
            step, last = self.trainer.step, self.trainer.settings.steps
            if step % self.log_every == 0 or step == last:
                self.history.append(terms)
            yield terms
            if step % self.checkpoint_every == 0 and step < last:
                state = {"trainer": self.trainer.state_dict(), "history": self.history}
                checkpoint.save(self.work, state)

    def write_history(self, path: Path) -> None:
        """history.csv: step and every named term, unweighted; `generator` is their sum (Eq. 13)."""
        files.write_text(path, pd.DataFrame(self.history).to_csv(index=False))

"""A training run on disk: what it depends on, where it continues, what it leaves behind."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from omgsr.core import checkpoints, files
from omgsr.core.checkpoints import CheckpointError
from omgsr.core.fingerprint import sha256, work_name
from omgsr.data.manifest import Row
from omgsr.evaluation import metrics
from omgsr.method.generator import Generator
from omgsr.training.settings import Settings
from omgsr.training.trainer import NonFiniteLoss, Trainer

Terms = dict[str, float]
Validate = Callable[[Generator], Mapping[str, float]]
CHECKPOINT = "checkpoint.pt"


def fingerprint(values: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """16 hex digits of all that decides the trained bytes: settings, pairs, code, torch.

    LQ images count by content, HQ images by path and size, since hashing a large data set at
    every start would take hours.
    """
    inputs = [repr(sorted(values.items()))]
    inputs += [f"{row}{os.path.getsize(row.hq)}{sha256(row.lq)}" for row in rows]
    rooms = ("core", "data", "evaluation", "models", "method", "training")
    return work_name(rooms, ("torch",), inputs)


@dataclass(kw_only=True)
class Session:
    """A trainer with its history and its best adapters, which survive a kill together.

    Of several processes each has a session; the main one alone writes. When it does, and which
    adapters the run gives, is in the trainer's settings.
    """

    trainer: Trainer
    work: Path
    """Folder of the checkpoint; not an output of DVC, which would delete it."""
    validate: Validate | None = None
    """Gives val/<metric>, the same in every process: each has a share of the work."""
    history: list[Terms] = field(default_factory=list)
    best: dict[str, Any] | None = None
    """Step, value and adapters of the best validation so far."""

    def __post_init__(self) -> None:
        self._folder = self.work.stat() if self.work.is_dir() else None
        state = checkpoints.load(self.work / CHECKPOINT)
        if state is not None:
            self.trainer.load_state_dict(state["trainer"])
            self.history, self.best = state["history"], state["best"]

    def follow(self, steps: Iterator[Terms]) -> Iterator[Terms]:
        """Passes the steps on; validates, keeps every `log_every`-th, saves checkpoints.

        A checkpoint is written when the next step is asked for: what the caller does with a step
        (a preview, a log line) is done before it, and so is not lost to a kill in between.
        """
        for terms in self._guarded(steps):
            plan, step = self.trainer.settings, self.trainer.step
            seen = self._validated(terms, plan, step)
            more = len(seen) > len(terms) or any(name.startswith("grad/") for name in terms)
            if step % plan.log_every == 0 or step == plan.steps or more:
                self.history.append(seen)
            yield seen
            due = step % plan.checkpoint_every == 0 and step < plan.steps
            if due and self.trainer.processes.main:
                self._save()

    def _save(self) -> None:
        """Writes the state of this moment."""
        self._require_folder()
        trainer = self.trainer.state_dict()
        state = {"trainer": trainer, "history": self.history, "best": self.best}
        checkpoints.save(self.work / CHECKPOINT, state)

    def _require_folder(self) -> None:
        """Refuses another folder of this name, which has no pictures of earlier steps."""
        was = self._folder
        if was and not (self.work.is_dir() and os.path.samestat(was, self.work.stat())):
            raise CheckpointError(
                f"{self.work} was deleted while the training ran; run the same command again, "
                "which trains from the start"
            )

    def _guarded(self, steps: Iterator[Terms]) -> Iterator[Terms]:
        """Saves the names of a batch whose loss is not finite, in non_finite-<process>.json."""
        try:
            yield from steps
        except NonFiniteLoss as error:
            said = {"step": error.step, "term": error.term, "value": str(error.value)}
            path = self.work / f"non_finite-{self.trainer.processes.rank}.json"
            files.write_json(path, {**said, "pairs": error.names})
            raise

    def _validated(self, terms: Terms, plan: Settings, step: int) -> Terms:
        """The terms with those of a validation, where one is due."""
        if self.validate is None or plan.validation is None:
            return terms
        if step % plan.validation.every and step != plan.steps:
            return terms
        with self.trainer.result() as generator:
            scores = dict(self.validate(generator))
            if plan.final != "last" and self._better(plan.final, scores[f"val/{plan.final}"]):
                value = scores[f"val/{plan.final}"]
                self.best = {"step": step, "value": value, "adapters": self.trainer.adapters()}
        return {**terms, **scores}

    def _better(self, metric: str, value: float) -> bool:
        """Whether it beats the best so far; a score that is not finite is none."""
        if not math.isfinite(value):
            return False
        sign = -1 if metrics.traits(metric).lower_better else 1
        return self.best is None or sign * value > sign * self.best["value"]

    def finish(self) -> dict[str, Any]:
        """Puts the adapters that the run gives in place; `final` and `final_step` of its card."""
        self._require_folder()
        if self.best is not None:
            self.trainer.set_adapters(self.best["adapters"])
            return {"final": self.trainer.settings.final, "final_step": self.best["step"]}
        with self.trainer.result():
            adapters = self.trainer.adapters()
        self.trainer.set_adapters(adapters)
        return {"final": "last", "final_step": self.trainer.step}

    def write_history(self, path: Path) -> None:
        """history.csv: step and every named term, unweighted; `generator` is their sum (Eq. 13).

        Rows of a validation have val/<metric>, rows of a measurement grad/<term>.
        """
        files.write_text(path, pd.DataFrame(self.history).to_csv(index=False))

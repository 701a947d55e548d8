"""The processes that train one model together; alone there is one, and nothing is sent."""

import os
import threading
import time
from dataclasses import dataclass
from typing import Self

import torch
from accelerate import Accelerator
from torch import Tensor

CPU = torch.device("cpu")
TORCHRUN = "OMGSR_TORCHRUN"
"""Environment variable with the number of the torchrun that started this process (stages/crew.py):
where it was killed at once, this process has another parent before it can ask."""


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Ranks of one training, each with its own share of every optimiser step's pairs.

    Gradients are added up after the last backward pass of a step, not inside a wrapper's forward:
    whatever way one took, through the encoder alone or the whole generator, it is counted, and no
    collective runs inside accumulation.
    """

    rank: int = 0
    """Number of this process, from 0."""
    count: int = 1
    """How many there are."""
    device: torch.device = CPU
    """Where this process computes."""
    accelerator: Accelerator | None = None
    """None trains alone."""

    @classmethod
    def start(cls) -> Self:
        """Those that torchrun or `accelerate launch` has started, or this one alone."""
        wanted = int(os.environ.get("WORLD_SIZE", "1"))
        if wanted > 1:  # before the others are waited for, as torchrun may be gone already
            parent = int(os.environ.get(TORCHRUN) or os.getppid())
            threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
        found = Accelerator(cpu=not torch.cuda.is_available())
        rank, count = found.process_index, found.num_processes
        if count != wanted:
            raise RuntimeError(
                f"{wanted} processes were started, but accelerate found {count}: they would "
                "train the same model side by side; see `accelerate env`"
            )
        return cls(rank=rank, count=count, device=found.device, accelerator=found)

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def in_order(self, rows: Tensor) -> Tensor:
        """What each pass of this process gave (passes, n) => all passes of the step (all, n).

        They are in the step's own order, so that a sum over them does not depend on `count`.
        """
        if self.accelerator is None or self.count == 1:
            return rows
        together: Tensor = self.accelerator.gather(rows)  # one process after the other
        return together.unflatten(0, (self.count, -1)).transpose(0, 1).flatten(0, 1)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the processes, the same in all of them."""
        if self.accelerator is None or self.count == 1:
            return values
        return self.accelerator.reduce(values, reduction="sum")

    def close(self) -> None:
        """Ends the connections between the processes."""
        if self.accelerator is not None:
            self.accelerator.end_training()

    def wait(self) -> None:
        """Returns when all processes are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def _end_with(parent: int) -> None:
    """Ends this process once torchrun is gone, whose processes outlive one that is killed outright.

    They would train on, and hold the work folder, while the next run waits for it.
    """
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)

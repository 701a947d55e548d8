"""Training of OMGSR: a step of the generator's adapters and of what judges it.

That is the discriminator's heads (Eq. 15), a regulariser in distillation, or nothing, as the losses
want it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from omgsr.core import seeding
from omgsr.core.wording import some
from omgsr.data.datasets import Batch, Pairs, batches
from omgsr.method import losses
from omgsr.method.discriminator import Discriminator
from omgsr.method.generator import Generator
from omgsr.method.objective import Objective
from omgsr.models.features import Features
from omgsr.training import memory
from omgsr.training.processes import Processes
from omgsr.training.settings import Settings


class NonFiniteLoss(ValueError):
    """A loss became NaN or infinite; nothing was updated by it."""

    def __init__(self, step: int, term: str, value: float, names: Sequence[str]) -> None:
        seen = f" Pairs of this batch: {some(names, 5)}." if names else ""
        super().__init__(
            f"step {step}: the term {term!r} is {value}; nothing was updated. "
            f"Lower train.lr or the weight of this term, or train in fp32.{seen}"
        )
        self.step, self.term, self.value, self.names = step, term, value, list(names)


@dataclass
class Trainer:
    """The trainable state and one optimiser step over it.

    It has parts, each with an optimiser and a gradient limit of its own: generator, heads where the
    loss `gan` has a weight, regulariser where `vsd` has one. All processes hold the same state and
    move it by the same mean gradient.
    """

    generator: Generator
    features: Features
    settings: Settings
    processes: Processes = field(default_factory=Processes)
    perceptual: Mapping[str, losses.Perceptual] = field(default_factory=dict)
    discriminator: Discriminator = field(init=False)
    step: int = field(init=False, default=0)
    """Optimiser steps done."""

    def __post_init__(self) -> None:
        s = self.settings
        self.device = self.features.mean.device
        s.share(self.processes.count)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.derive(s.seed, "discriminator"))
            levels = self.features.channels if s.losses.get("gan") else []
            self.discriminator = Discriminator(levels, s.spectral_norm, s.heads)
        self.discriminator.to(self.device)
        self.generator.precision = s.precision
        self._adapters = self.generator.adapter_parameters()
        self._moved: list[nn.Parameter] = []
        """Those that have gradients, as long as these are elsewhere."""
        self._heads = list(self.discriminator.parameters())
        self._regulariser = self.generator.regulariser_parameters() if s.losses.get("vsd") else []
        if s.losses.get("vsd") and not self._regulariser:
            raise ValueError("the loss vsd needs a regulariser; call Generator.add_regulariser()")
        parts = {
            "generator": self._adapters, "heads": self._heads, "regulariser": self._regulariser,
        }  # fmt: skip
        self._parts = {name: parameters for name, parameters in parts.items() if parameters}
        self._optimisers = [
            memory.optimiser(s.optimiser, parameters, s.lr, s.weight_decay)
            for parameters in self._parts.values()
        ]
        # Its decay rises as (1 + step) / (10 + step) up to `ema`: fresh weights do not stay in it.
        self._average = EMAModel(self._adapters, decay=s.ema) if s.ema else None
        self._objective = Objective(
            generator=self.generator,
            features=self.features,
            discriminator=self.discriminator,
            settings=s,
            weights=s.losses,
            perceptual=self.perceptual,
        )

    def update(self, pairs: Sequence[Batch]) -> dict[str, float]:
        """One optimiser step on this process' batches; the mean of every named term over all.

        Every `gradient_norms_every` steps also grad/<term>, and grad/<part> of the whole gradients
        before clipping. Raises NonFiniteLoss before an optimiser moves.
        """
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)
        self.discriminator.iterate()
        every = self.settings.gradient_norms_every
        measure = every is not None and (self.step + 1) % every == 0
        terms = self._backward(pairs, measure)
        norms = self._clip(pairs)
        for optimiser in self._optimisers:
            optimiser.param_groups[0]["lr"] = self.settings.lr_at(self.step)
            optimiser.step()
        if self._average:
            self._average.step(self._adapters)
        self.step += 1
        return terms | norms if measure else terms

    def _backward(self, pairs: Sequence[Batch], measure: bool) -> dict[str, float]:
        """The mean gradients of all passes, and means of the terms over them."""
        who, found, passes = self.processes, list[dict[str, Tensor]](), list[Tensor]()
        norms: dict[str, Tensor] = {}
        share = 1 / (len(pairs) * who.count)
        for number, batch in enumerate(pairs):
            rngs = self._rngs((number * who.count + who.rank) * len(batch.x_hq), len(batch.x_hq))
            terms, more = self._objective.backward(batch, rngs, share, measure and number == 0)
            found.append(terms)
            norms |= more
            if self._one_by_one(len(pairs)):
                passes.append(self._gradients())
        self._add_up(passes)
        own = torch.stack([torch.stack(list(one.values())) for one in found])
        first = torch.stack(list(norms.values())).unsqueeze(0) if norms else own[:1, :0]
        # Every process learns of a value that is not finite in one of them, so all stop together.
        means = torch.cat([who.in_order(own).mean(0), who.in_order(first)[0]]).tolist()
        if not all(map(math.isfinite, means)):
            self._blame(found, pairs)
        return dict(zip((*found[0], *norms), means, strict=True))

    def _one_by_one(self, passes: int) -> bool:
        """Whether the gradients of each pass are kept, to be added in one order by everybody.

        On a CPU, where `exact` needs it and adapters are small beside the memory.
        """
        return self.device.type == "cpu" and passes * self.processes.count > 1

    def _parameters(self) -> list[nn.Parameter]:
        return [p for part in self._parts.values() for p in part if p.grad is not None]

    def _gradients(self) -> Tensor:
        """Those of the last pass as one vector."""
        flat = torch.cat([p.grad.flatten() for p in self._parameters() if p.grad is not None])
        self._moved = self._parameters()
        for parameter in self._moved:
            parameter.grad = None
        return flat

    def _add_up(self, passes: Sequence[Tensor]) -> None:
        """Gives every parameter the sum of its gradients over the passes and the processes."""
        if passes:
            total = self.processes.in_order(torch.stack(list(passes))).sum(0)
        elif self.processes.count > 1:
            total = self.processes.sum(self._gradients())
        else:
            return
        parts = total.split([p.numel() for p in self._moved])
        for parameter, part in zip(self._moved, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def _rngs(self, first: int, count: int) -> list[torch.Generator]:
        """One for each pair, by its place in the step: how pairs are batched changes nothing."""
        seed = self.settings.seed
        return [seeding.torch_rng(seed, "noise", self.step, first + i) for i in range(count)]

    def _blame(self, found: Sequence[Mapping[str, Tensor]], pairs: Sequence[Batch]) -> None:
        for batch, terms in zip(pairs, found, strict=True):
            for name, value in terms.items():
                if not torch.isfinite(value):
                    raise NonFiniteLoss(self.step + 1, name, float(value), batch.names)
        where = "gradient norm, or a term of another process"
        raise NonFiniteLoss(self.step + 1, where, math.nan, ())

    def _clip(self, pairs: Sequence[Batch]) -> dict[str, float]:
        """Limits the norm of every part; a finite loss can still have a gradient that is not."""
        limit = self.settings.clip_grad if self.settings.clip_grad is not None else math.inf
        norms = {}
        for name, parameters in self._parts.items():
            norms[name] = float(nn.utils.clip_grad_norm_(parameters, limit))
            if not math.isfinite(norms[name]):
                seen = [name for batch in pairs for name in batch.names]
                raise NonFiniteLoss(self.step + 1, f"gradient of {name}", norms[name], seen)
        return {f"grad/{name}": value for name, value in norms.items()}

    @contextmanager
    def result(self) -> Iterator[Generator]:
        """Inside, the adapters are what the training gives: their average, if one is kept."""
        if self._average:
            self._average.store(self._adapters)
            self._average.copy_to(self._adapters)
        try:
            yield self.generator
        finally:
            if self._average:
                self._average.restore(self._adapters)

    def adapters(self) -> list[Tensor]:
        """A copy of the adapters' weights on the CPU."""
        return [p.detach().cpu().clone() for p in self._adapters]

    def set_adapters(self, values: Sequence[Tensor]) -> None:
        """Takes the weights that `adapters` gave."""
        _copy(values, self._adapters)

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` changes; its randomness depends on the step alone."""
        return {
            "step": self.step,
            "adapters": [p.detach() for p in self._adapters],
            "kind of heads": self.settings.heads,
            "heads": self.discriminator.state_dict(),
            "regulariser": [p.detach() for p in self._regulariser],
            "optimisers": [o.state_dict() for o in self._optimisers],
            "average": self._average.state_dict() if self._average else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state_dict` was taken; ValueError where that had other heads."""
        if state["kind of heads"] != self.settings.heads:
            raise ValueError(
                f"train.heads: got {self.settings.heads}, but the checkpoint's are "
                f"{state['kind of heads']}; set that, or remove it to train from the start"
            )
        self.set_adapters(state["adapters"])
        self.discriminator.load_state_dict(state["heads"])
        _copy(state["regulariser"], self._regulariser)
        for optimiser, value in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(value)
        if self._average:
            self._average.load_state_dict(state["average"])
            self._average.to(self.device)
        self.step = state["step"]


def fit(trainer: Trainer, pairs: Pairs, workers: int = 0) -> Iterator[dict[str, float]]:
    """Runs the steps that are left and yields the terms of each, with its number as `step`."""
    s, who = trainer.settings, trainer.processes
    share = s.share(who.count)
    first, last = trainer.step * s.accumulate, s.steps * s.accumulate
    numbers = range(first + who.rank, last, who.count)
    group: list[Batch] = []
    for x_lq, x_hq, names in batches(pairs, s.batch, numbers, workers):
        x_lq, x_hq = (x.to(trainer.device, non_blocking=True) for x in (x_lq, x_hq))
        group.append(Batch(x_lq, x_hq, names))
        if len(group) == share:
            terms = trainer.update(group)
            group = []
            yield {"step": trainer.step, **terms}


@torch.no_grad()
def _copy(values: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)

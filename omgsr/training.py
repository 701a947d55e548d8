"""Training of OMGSR: a GAN step for the generator's adapters, then one for the heads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omgsr import losses, seeding
from omgsr.datasets import Pair, Pairs, batches
from omgsr.discriminator import Discriminator
from omgsr.features import Features
from omgsr.generator import Generator


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite; nothing was updated by it."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a training run depends on beside its models and data."""

    losses: Mapping[str, float]
    """Weight of every generator term (Eq. 13); `gan` also weighs Eq. 15."""
    steps: int
    """Optimiser steps."""
    batch: int
    """Pairs of one forward pass."""
    accumulate: int
    """Forward passes of one optimiser step."""
    lr: float
    """AdamW learning rate of both networks."""
    lr_schedule: Literal["constant", "cosine"]
    """Whether lr stays, or falls along half a cosine to zero at the last step."""
    weight_decay: float
    """AdamW weight decay."""
    clip_grad: float | None
    """Largest gradient norm of each network, or None."""
    real_label: float
    """Soft label of real images (Eqs. 12 and 14)."""
    seed: int
    """Root of the noise, the order of the pairs and the fresh weights."""

    def lr_at(self, step: int) -> float:
        """Learning rate of the update that follows `step` finished ones."""
        if self.lr_schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass
class Trainer:
    """The trainable state and one optimiser step over it."""

    generator: Generator
    features: Features
    settings: Settings
    discriminator: Discriminator = field(init=False)
    step: int = field(init=False, default=0)
    """Optimiser steps done."""

    def __post_init__(self) -> None:
        s = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeding.derive(s.seed, "discriminator"))
            self.discriminator = Discriminator(self.features.channels)
        self.discriminator.to(self.features.mean.device)
        self._adapters = self.generator.adapter_parameters()
        self._heads = list(self.discriminator.parameters())
        self._optimisers = [
            torch.optim.AdamW(p, lr=s.lr, weight_decay=s.weight_decay, foreach=False)
            for p in (self._adapters, self._heads)
        ]

    def update(self, pairs: list[Pair]) -> dict[str, float]:
        """One optimiser step on `accumulate` batches; returns the mean of every named term.

        Raises NonFiniteLoss before an optimiser moves.
        """
        rng = seeding.torch_rng(self.settings.seed, "noise", self.step)
        totals: dict[str, float] = {}
        for optimiser in self._optimisers:
            optimiser.zero_grad(set_to_none=True)
        for x_lq, x_hq in pairs:
            for name, value in self._backward(x_lq, x_hq, rng, 1 / len(pairs)).items():
                totals[name] = totals.get(name, 0.0) + value / len(pairs)
        self._clip()
        for optimiser in self._optimisers:
            optimiser.param_groups[0]["lr"] = self.settings.lr_at(self.step)
            optimiser.step()
        self.step += 1
        return totals

    def _clip(self) -> None:
        """Limits both gradient norms; a finite loss can still have a gradient that is not."""
        limit = self.settings.clip_grad if self.settings.clip_grad is not None else math.inf
        norms = {
            name: nn.utils.clip_grad_norm_(parameters, limit)
            for name, parameters in (("generator", self._adapters), ("heads", self._heads))
        }
        self._require_finite({f"gradient of {name}": norm for name, norm in norms.items()})

    def _backward(
        self, x_lq: Tensor, x_hq: Tensor, rng: torch.Generator, share: float
    ) -> dict[str, float]:
        """Adds the gradients of L_G to the adapters and of L_D to the heads (Eqs. 13 and 15)."""
        s = self.settings
        uses_gan = s.losses.get("gan", 0) > 0
        outputs, fake, real = self._forward(x_lq, x_hq, rng)
        terms = losses.generator_terms(outputs, s.losses)
        total = losses.weighted_sum(terms, s.losses)
        self._require_finite({**terms, "generator": total})
        (total * share).backward()
        if uses_gan:
            # The features of x_sr do not depend on the heads, so those of the G step serve here.
            judged = [self.discriminator([f.detach() for f in maps]) for maps in (fake, real)]
            heads = losses.discriminator_terms(judged[0], judged[1], s.real_label)
            loss = s.losses["gan"] * torch.stack(list(heads.values())).sum()
            self._require_finite(heads)
            (loss * share).backward()
            terms |= heads
        return {name: float(v.detach()) for name, v in {**terms, "generator": total}.items()}

    def _forward(
        self, x_lq: Tensor, x_hq: Tensor, rng: torch.Generator
    ) -> tuple[losses.Outputs, list[Tensor], list[Tensor]]:
        """The generator's outputs and the plain features of x_sr and x_hq."""
        weights = self.settings.losses
        pooled, uses_gan = weights.get("dv3cd", 0) > 0, weights.get("gan", 0) > 0
        z_hq, z_t = self.generator.targets(x_hq, rng)
        x_sr, z_lq = self.generator(x_lq, rng)
        fake: list[Tensor] = []
        real: list[Tensor] = []
        pooled_sr: list[Tensor] = []
        pooled_hq: list[Tensor] = []
        if pooled or uses_gan:
            fake, pooled_sr = self.features.plain_and_pooled(x_sr, pooled)
            with torch.no_grad():
                real, pooled_hq = self.features.plain_and_pooled(x_hq, pooled)
        with _frozen(self.discriminator):  # Eq. 12 moves the generator alone
            logits = self.discriminator(fake) if uses_gan else []
        outputs = losses.Outputs(
            x_sr=x_sr, x_hq=x_hq, z_lq=z_lq, z_hq=z_hq, z_t=z_t, logits=logits,
            pooled_sr=pooled_sr, pooled_hq=pooled_hq, real_label=self.settings.real_label,
        )  # fmt: skip
        return outputs, fake, real

    def _require_finite(self, terms: Mapping[str, Tensor]) -> None:
        for name, value in terms.items():
            if not torch.isfinite(value):
                raise NonFiniteLoss(
                    f"step {self.step + 1}: the term {name!r} is {value.item()}; nothing was "
                    "updated. Lower train.lr or the weight of this term, or train in fp32"
                )

    def state_dict(self) -> dict[str, Any]:
        """Everything that `update` changes."""
        return {
            "step": self.step,
            "adapters": [p.detach() for p in self._adapters],
            "heads": self.discriminator.state_dict(),
            "optimisers": [o.state_dict() for o in self._optimisers],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues where `state_dict` was taken."""
        with torch.no_grad():
            for parameter, value in zip(self._adapters, state["adapters"], strict=True):
                parameter.copy_(value)
        self.discriminator.load_state_dict(state["heads"])
        for optimiser, value in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(value)
        self.step = state["step"]


def fit(trainer: Trainer, pairs: Pairs, workers: int = 0) -> Iterator[dict[str, float]]:
    """Runs the steps that are left and yields the terms of each, with its number as `step`."""
    s, device = trainer.settings, trainer.features.mean.device
    first, last = trainer.step * s.accumulate, s.steps * s.accumulate
    group: list[Pair] = []
    for x_lq, x_hq in batches(pairs, s.batch, first, last, workers):
        group.append((x_lq.to(device), x_hq.to(device)))
        if len(group) == s.accumulate:
            terms = trainer.update(group)
            group = []
            yield {"step": trainer.step, **terms}


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through `module` and none is added to its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)

"""What settings of `official` do to one step's gradients: the networks' part of official.py.

Adapters and heads are fresh and drawn alike in all cases, and so are noise and augmentation.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from omgsr.core import seeding
from omgsr.data.datasets import Batch
from omgsr.evaluation.statistics import Interval, interval
from omgsr.method import losses
from omgsr.method.discriminator import Discriminator
from omgsr.method.generator import Generator
from omgsr.method.objective import Objective
from omgsr.method.settings import Arithmetic, Heads, Precision
from omgsr.models.features import Features
from omgsr.training.settings import Train


def precision(every: Arithmetic, **changes: Arithmetic) -> Precision:
    """The same for every part but those of `changes`."""
    parts = dict.fromkeys(("vae", "denoiser", "features", "heads"), every)
    return Precision(**(parts | changes))


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "precision": (
        "adapters", {}, {"precision": precision("bf16", vae="fp32", features="fp32")},
    ),
    "precision, all bf16": ("adapters", {}, {"precision": precision("bf16")}),
    "latent": ("adapters", {"latent": "mode"}, {"latent": "sample"}),
    "clamp": ("adapters", {}, {"clamp": True}),
    "diffaugment": ("adapters", {"diffaugment": "none"}, {"diffaugment": "shared"}),
    "diffaugment, anew": ("heads", {"diffaugment": "shared"}, {"diffaugment": "anew"}),
    "spectral_norm": ("adapters", {}, {"spectral_norm": True}),
    "head_gradient": ("heads", {}, {"head_gradient": "leftover"}),
}  # fmt: skip
"""Name => whose gradient is looked at, and what is changed to what."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a gradient depends on beside the settings."""

    generator: Generator
    features: Features
    weights: Mapping[Any, float]
    """Of the losses (Eq. 13)."""

    def gradients(self, batch: Batch, plan: Train) -> dict[str, Tensor]:
        """Those of L_G in the adapters and of what moves the heads, each as one vector."""
        judge = heads(self.features, plan.heads, plan.spectral_norm)
        adapters = self.generator.adapter_parameters()
        for parameter in adapters:
            parameter.grad = None
        self.generator.latent, self.generator.precision = "sample", plan.precision
        objective = Objective(
            generator=self.generator, features=self.features, discriminator=judge, settings=plan,
            weights=self.weights,
        )  # fmt: skip
        rngs = [seeding.torch_rng(0, "noise", name) for name in batch.names]
        with certain(self.generator.backbone) if plan.latent == "mode" else nothing():
            objective.backward(batch, rngs, 1.0)
        return {"adapters": _flat(adapters), "heads": _flat(judge.parameters())}


def heads(features: Features, kind: Heads, spectral: bool = False) -> Discriminator:
    """Fresh ones, of the same weights for each kind, after the step's power iteration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = Discriminator(features.channels, spectral, kind)
    judge.iterate()
    return judge


@contextmanager
def certain(backbone: Any) -> Iterator[None]:
    """Inside, the VAE's posteriors have no variance: a sample is the mode.

    So what is drawn after the sample, eps of z_t, is the same with both values of `latent`.
    """
    moments = backbone.moments

    def without(x: Tensor) -> Tensor:
        mean = moments(x).chunk(2, dim=1)[0]
        return torch.cat([mean, torch.full_like(mean, -torch.inf)], dim=1)

    backbone.moments = without
    try:
        yield
    finally:
        del backbone.moments


@contextmanager
def nothing() -> Iterator[None]:
    """Changes nothing."""
    yield


def changes(
    step: Step, pairs: Sequence[Batch], plan: Train, cases: Sequence[str] = tuple(CASES)
) -> dict[str, Interval]:
    """|g' - g| / |g| of every case, in %, from `plan` with the first values to the second."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for batch in pairs:
        plain = step.gradients(batch, plan)
        for name in cases:
            whose, before, after = CASES[name]
            first, second = replace(plan, **before), replace(plan, **after)
            one = (plain if first == plan else step.gradients(batch, first))[whose]
            two = step.gradients(batch, second)[whose]
            found[name].append(100 * float((two - one).norm() / one.norm()))
    return {name: interval(values) for name, values in found.items()}


def outside(generator: Generator, pairs: Sequence[Batch]) -> Interval:
    """Values of x_P that `clamp` changes, in %."""
    generator.latent, generator.precision = "mode", None
    with torch.no_grad():
        made = [generator(batch.x_lq)[0] for batch in pairs]
    return interval([100 * float((x.abs() > 1).float().mean()) for x in made])


def ratio_of_heads(features: Features, pictures: Sequence[Tensor]) -> Interval:
    """|gradient of L_GAN in the picture|: that of heads `official` over that of `map`."""
    found = []
    for x in pictures:
        norms = []
        for kind in ("official", "map"):
            seen = x.clone().requires_grad_()
            losses.gan(heads(features, kind)(features(seen)), 0.8).backward()
            assert seen.grad is not None
            norms.append(float(seen.grad.norm()))
        found.append(norms[0] / norms[1])
    return interval(found)


def _flat(parameters: Iterator[nn.Parameter] | Sequence[nn.Parameter]) -> Tensor:
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([g.flatten() for g in found])

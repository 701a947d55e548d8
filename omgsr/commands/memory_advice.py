"""What `omgsr doctor` says of a training's memory and hours, and what to switch for less."""

import json
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from omgsr.commands import memory_estimate
from omgsr.commands.doctor import Finding
from omgsr.core import files
from omgsr.method.losses import PERCEPTUAL
from omgsr.models import feature_sources, foundation
from omgsr.models.small_networks import ASSETS
from omgsr.training.settings import Settings

if TYPE_CHECKING:
    from omgsr.config import Config

SPARE = 0.1
"""Share of a GPU that is left free for CUDA itself, what convolutions work in, and gaps."""
MEASURE = "python -m benchmarks.train_step --device cuda --size 512"


class Change(NamedTuple):
    """A setting that takes less memory."""

    key: str
    value: Any
    section: str = "train"

    def __str__(self) -> str:
        return f"{self.section}.{self.key}: {json.dumps(self.value).strip(chr(34))}"


NF4 = Change("quantise", "nf4", "foundation")


def changes(plan: Settings) -> list[Change]:
    """What is left to switch, in the order of its cost: a measurement, time, bits, roundings."""
    found = [] if plan.gradient_norms_every is None else [Change("gradient_norms_every", None)]
    if not plan.gradient_checkpointing:
        found.append(Change("gradient_checkpointing", True))
    if plan.optimiser == "adamw":
        found.append(Change("optimiser", "adamw8bit"))
    parts = ("denoiser", "heads", "features", "vae")
    fp32 = [part for part in parts if getattr(plan.precision, part) == "fp32"]
    return found + [Change(f"precision.{part}", "bf16") for part in fp32]


def changed(plan: Settings, taken: Sequence[Change]) -> Settings:
    """A plan with these changes."""
    for key, value, _ in taken:
        section, _, part = key.partition(".")
        inside = replace(getattr(plan, section), **{part: value}) if part else value
        plan = replace(plan, **{section: inside})
    return plan


def advice(
    todo: Sequence[Change], total: Callable[[tuple[Change, ...]], int], limit: float
) -> tuple[tuple[Change, ...], bool]:
    """The first change that fits by itself, else the shortest row from the start that does.

    4 bits are only thought of where all others together do not fit: then the shortest row with
    them. `total` gives the bytes of a training with changes; without any they are above `limit`.
    The second value is whether the result fits: if not, it is all of them.
    """

    def fits(*row: Change) -> bool:
        return total(row) <= limit

    others = [one for one in todo if one != NF4]
    if not fits(*todo):
        return tuple(todo), False
    bits = () if others and fits(*others) else (NF4,)
    single = next(((one,) for one in others if fits(one)), None) if not bits else None
    if single:
        return single, True
    # A change more never takes more memory, and an estimate takes half a minute.
    lengths = range(len(others) + 1)
    shortest = bisect_left(lengths, True, key=lambda number: fits(*bits, *others[:number]))
    return (*bits, *others[:shortest]), True


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The training of a profile, whose memory is estimated with any changes."""

    name: str
    """Of the backbone."""
    folder: Path | None
    """Its model folder, where there is one here."""
    network: tuple[str, dict[str, Any]]
    """Of the features: name in timm, and its arguments."""
    plan: Settings
    side: int
    """Of the images, pixels."""
    quantised: bool
    """Whether the profile has the base in 4 bits."""
    _steps: dict[tuple[Change, ...], memory_estimate.Estimate] = field(default_factory=dict)

    @classmethod
    def of(cls, config: "Config", root: Path) -> "Planned":
        """That of a profile; LookupError or OSError where the sizes of its networks are unknown."""
        every = [config.variants[name].losses for name in config.sweep.variants]
        losses: dict[str, float] = {name: w for one in every for name, w in one.items()}
        plan = Settings(**vars(config.train), losses=losses, seed=config.seed)
        name, folder = config.foundation.backbone, _folder(config, root)
        memory_estimate.configurations(name, folder)
        side = plan.crop or config.data.crop
        return cls(
            name=name, folder=folder, network=_feature_network(config), plan=plan, side=side,
            quantised=config.foundation.quantise is not None,
        )  # fmt: skip

    def estimate(self, taken: tuple[Change, ...] = ()) -> memory_estimate.Estimate:
        """Of the training with these changes; optimiser and frozen weights need no other step."""
        apart = ("optimiser", NF4.key)
        found = self._step(tuple(one for one in taken if one.key not in apart))
        if self.quantised or NF4 in taken:
            found = found.quantised()
        switched = [one for one in taken if one != NF4]
        return found.with_optimiser(changed(self.plan, switched).optimiser)

    def changes(self) -> list[Change]:
        """What is left to switch; 4 bits last, which round most."""
        return changes(self.plan) + ([] if self.quantised else [NF4])

    def _step(self, taken: tuple[Change, ...]) -> memory_estimate.Estimate:
        if taken not in self._steps:
            chosen = changed(self.plan, taken)
            ranks = chosen.encoder_rank, chosen.unet_rank
            make = partial(memory_estimate.networks, self.name, self.folder, self.network, ranks)
            self._steps[taken] = memory_estimate.of_step(make, chosen, self.side)
        return self._steps[taken]


def findings(
    config: "Config", root: Path, gib: float | None, seconds: float | None
) -> Iterator[Finding]:
    """The estimate by part, whether it fits, and the hours of a run.

    `gib`: memory of the GPU, else that of the smallest one here; `seconds`: measured ones of one
    forward pass with its gradients.
    """
    try:
        planned = Planned.of(config, root)
    except (LookupError, OSError) as error:
        yield Finding("memory", "in all", "note", f"cannot be told: {error}")
        return
    yield from _parts(planned)
    yield _fit(lambda taken: planned.estimate(taken).total, planned.changes(), gib)
    yield _hours(config, seconds)


def _parts(planned: Planned) -> Iterator[Finding]:
    found = planned.estimate()
    counts = {"frozen weights": found.frozen, "adapters and heads": found.trained}
    for part, size in found.parts.items():
        more = f", {counts[part] / 1e6:,.1f} M weights" if part in counts else ""
        yield Finding("memory", part, "note", f"{size / 2**30:.2f} GiB{more}")
    sizes = str(planned.folder) if planned.folder else memory_estimate.source(planned.name)
    text = (
        f"{found.total / 2**30:.1f} GiB at {planned.side} px on each GPU, however many there are. "
        "An estimate: one forward pass with its gradients, run on tensors without memory (sizes: "
        f"{sizes}). Not in it: CUDA itself, what convolutions work in, gaps, validation, networks "
        f"of the losses {', '.join(PERCEPTUAL)}; a GPU keeps some layer norms in fp32 that are "
        "bf16 here"
    )
    yield Finding("memory", "in all", "note", text)


def _fit(
    total: Callable[[tuple[Change, ...]], int], todo: Sequence[Change], gib: float | None
) -> Finding:
    if gib is None and torch.cuda.is_available():
        every = range(torch.cuda.device_count())
        gib = min(torch.cuda.get_device_properties(i).total_memory for i in every) / 2**30
    if gib is None:
        return Finding(
            "memory", "fits", "note", "no GPU here; --memory GIB says whether one would do"
        )
    limit = gib * (1 - SPARE) * 2**30
    said = f"{gib:.0f} GiB, of which a tenth is left free"
    if total(()) <= limit:
        return Finding("memory", "fits", "ok", f"into {said}")
    taken, fits = advice(todo, total, limit)
    with_these = f"{', '.join(map(str, taken))}: {total(taken) / 2**30:.1f} GiB"
    if fits:
        return Finding("memory", "fits", "note", f"not into {said}; it does with {with_these}")
    text = f"not into {said}, nor with all that saves memory"
    text += f" ({with_these})" if taken else ""
    text += "; take a larger GPU, a smaller train.crop, or several GPUs with train.shard: true"
    return Finding("memory", "fits", "note", f"{text}, each of which then has a part of the base")


def _hours(config: "Config", seconds: float | None) -> Finding:
    plan = config.train
    passes = plan.steps * plan.accumulate
    if seconds is None:
        text = (
            f"cannot be told, as nothing was measured: a run has {passes:,} forward passes with "
            f"their gradients. `{MEASURE}` times one of OMGSR-S; of another model the bar of `dvc "
            f"repro` does ({plan.accumulate} a step). --seconds S gives the hours"
        )
        return Finding("hours", "a run", "note", text)
    hours = passes * seconds / 3600
    text = f"{hours:.1f}: {passes:,} forward passes of {seconds:g} s on one GPU, without validation"
    return Finding("hours", "a run", "note", text)


def _folder(config: "Config", root: Path) -> Path | None:
    """The model folder, where there is one on this machine."""
    plan = config.foundation
    if plan.source in ("shipped", "train"):
        return ASSETS / foundation.shipped(plan) / "model"
    folder = root / Path(plan.path).expanduser() if plan.source == "folder" and plan.path else None
    return folder if folder and folder.is_dir() else None


def _feature_network(config: "Config") -> tuple[str, dict[str, Any]]:
    """Name in timm of the feature network, and its arguments."""
    plan = config.foundation
    if plan.source in ("shipped", "train") and plan.features.path is None:
        about = files.read_json(feature_sources.shipped(plan.features.name) / "config.json")
        return about["architecture"], about["arguments"]
    return plan.features.name, {}

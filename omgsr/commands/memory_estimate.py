"""How much memory a training takes, by part: its own step, taken on tensors that have none.

The networks of a profile are built at their true size on torch's device `meta`, where they are
counted. A forward pass with its gradients then runs through the objective that trains, in
FakeTensorMode, which gives a tensor a shape, a type and a life; what lives at once is added up.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import timm
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from omgsr.commands.memory_live import Live, materialise
from omgsr.core import files, seeding
from omgsr.data.datasets import Batch
from omgsr.method import losses
from omgsr.method.discriminator import Discriminator
from omgsr.method.generator import Generator
from omgsr.method.objective import Objective
from omgsr.models import feature_levels
from omgsr.models.backbones import compact
from omgsr.models.backbones.base import Backbone
from omgsr.models.backbones.from_folder import FAMILIES
from omgsr.models.backbones.still_vae import StillVAE
from omgsr.models.features import Features
from omgsr.models.schedule import NoiseSchedule
from omgsr.training import memory
from omgsr.training.settings import Optimiser, Settings

_DATA: dict[str, dict[str, Any]] = files.read_json(Path(__file__).with_name("architectures.json"))
KNOWN: dict[str, dict[str, Any]] = _DATA["models"]
"""The real networks: backbone => `denoiser`, as in its config.json where that differs from the
defaults of diffusers' class; `vae`, one of those beside; `weights` of the denoiser; `source`."""
MOMENTS: dict[Optimiser, int] = {"adamw": 8, "adamw8bit": 2}
"""Bytes that the optimiser keeps for a trained weight."""
NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in NF4: half a one, of every 64 weights a scale in 8 bits, and of every 256
scales one in fp32."""
Networks = tuple[Generator, Features]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Bytes of a training on one GPU."""

    parts: Mapping[str, int]
    """By what they are for, in the order in which they come."""
    frozen: int
    """Frozen weights, of all networks."""
    trained: int
    """Trained ones: adapters, heads, regulariser."""
    in_blocks: tuple[int, int] = (0, 0)
    """Frozen weights of the denoiser's blocks that could be in 4 bits, and their bytes."""

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    def with_optimiser(self, name: Optimiser) -> "Estimate":
        """The same training with the other optimiser, which nothing else depends on."""
        return replace(self, parts={**self.parts, "optimiser": MOMENTS[name] * self.trained})

    def quantised(self) -> "Estimate":
        """The same training on a base in NF4 (compact.py)."""
        count, size = self.in_blocks
        frozen = self.parts["frozen weights"] - size + round(NF4 * count)
        return replace(self, parts={**self.parts, "frozen weights": frozen}, in_blocks=(0, 0))


def of_step(
    make: Callable[[], Networks], settings: Settings, side: int, *, fake: bool = True
) -> Estimate:
    """The memory of a training of what `make` builds, for images of `side` pixels.

    `make` is called with `meta` as torch's device. Without `fake` the step is really taken.
    """
    mode: AbstractContextManager[Any] = FakeTensorMode() if fake else nullcontext()
    with torch.device("meta"):
        objective = _objective(make, settings)
    generator = objective.generator
    whole = nn.ModuleList([generator, objective.features, objective.discriminator])
    trained = [*generator.adapter_parameters(), *generator.regulariser_parameters()]
    trained += objective.discriminator.parameters()
    parts = _kept(whole, trained, settings)
    if settings.ema:
        parts["average"] = 4 * sum(p.numel() for p in generator.adapter_parameters())
    measured = settings.gradient_norms_every is not None
    with mode:
        materialise(whole, trained)
        parts["activations"] = _activations(objective, settings.batch, side, measured)
    count = sum(p.numel() for p in trained)
    return Estimate(
        parts={name: size for name, size in parts.items() if size},
        frozen=sum(p.numel() for p in whole.parameters()) - count,
        trained=count,
        in_blocks=_in_blocks(generator.backbone.denoiser),
    )


def _objective(make: Callable[[], Networks], settings: Settings) -> Objective:
    """The networks of a training as it places them; losses without the networks of their own."""
    weights = {n: w for n, w in settings.losses.items() if n not in losses.PERCEPTUAL}
    generator, network = make()
    if weights.get("vsd"):
        generator.add_regulariser(seed=0)
    levels = network.channels if weights.get("gan") else []
    heads = Discriminator(levels, settings.spectral_norm, settings.heads)
    where = torch.device("meta")
    memory.place(generator, network, where, settings.precision, settings.gradient_checkpointing)
    generator.precision = settings.precision
    return Objective(
        generator=generator, features=network, discriminator=heads, settings=settings,
        weights=weights,
    )  # fmt: skip


def _kept(whole: nn.Module, trained: Sequence[nn.Parameter], settings: Settings) -> dict[str, int]:
    """Bytes of what is there between two steps."""
    moving = sum(p.nbytes for p in trained)
    return {
        "frozen weights": _bytes(whole) - moving,
        "adapters and heads": moving,
        "their gradients": moving,
        "optimiser": MOMENTS[settings.optimiser] * sum(p.numel() for p in trained),
    }


def _activations(objective: Objective, batch: int, side: int, measure: bool) -> int:
    """Most bytes at once of what one forward pass and its gradients make beside the gradients."""
    shape = (batch, 3, side, side)
    pair = Batch(torch.zeros(shape), torch.zeros(shape), [""] * batch)
    rngs = [seeding.torch_rng(0, i) for i in range(batch)]
    with Live() as live:
        objective.backward(pair, rngs, 1.0, measure)
    return live.peak


def _in_blocks(denoiser: Any) -> tuple[int, int]:
    """Count and bytes of the matrices in its blocks, without the adapters'."""
    network = denoiser.get_base_model()
    if not network._no_split_modules:
        return 0, 0
    named = [one for block in compact.blocks(network) for one in block.named_parameters()]
    matrices = [p for name, p in named if p.ndim == 2 and "lora_" not in name]
    return sum(p.numel() for p in matrices), sum(p.nbytes for p in matrices)


def _bytes(module: nn.Module) -> int:
    return sum(x.nbytes for x in (*module.parameters(), *module.buffers()))


class _AnyTime(NoiseSchedule):
    """A schedule without values: every timestep takes the same memory."""

    def coefficients(self, t: int) -> tuple[float, float]:
        """As good as any."""
        return 0.5, 0.5


def networks(
    backbone: str,
    folder: Path | None,
    network: tuple[str, Mapping[str, Any]],
    ranks: tuple[int, int],
) -> Networks:
    """Generator with fresh adapters and feature network of a backbone's true size, random weights.

    Sizes are those of the model folder, or the published ones. `network` is the name in timm of the
    features', with its arguments; `ranks` are encoder's and denoiser's.
    """
    family = FAMILIES[backbone]
    denoiser, vae = configurations(backbone, folder)
    made = family.denoiser_class.from_config(denoiser)
    coder: Any = getattr(diffusers, vae["_class_name"]).from_config(vae)
    coder = StillVAE(coder) if isinstance(coder, diffusers.AutoencoderKLQwenImage) else coder
    shift, scale = family.statistics(coder.config)
    ones = torch.ones(1000)
    whole: Backbone = family(
        vae=coder, denoiser=made, shift=shift, scale=scale, prompt=_prompt(family, made.config),
        schedule=_AnyTime(signal=ones, noise=ones, prediction="flow"),
    )  # fmt: skip
    generator = Generator(whole, 1)
    generator.add_adapters(*ranks, seed=0)
    name, arguments = network
    levels = feature_levels.prune(timm.create_model(name, num_classes=0, **arguments))
    return generator, Features(levels, (0.5,) * 3, (0.5,) * 3)


def configurations(backbone: str, folder: Path | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of denoiser and VAE: those of a model folder, else the published ones.

    Raises LookupError for a backbone of which neither is there.
    """
    if folder is not None:
        parts = (FAMILIES[backbone].denoiser_folder, "vae")
        denoiser, vae = (files.read_json(folder / part / "config.json") for part in parts)
        return denoiser, vae
    if backbone not in KNOWN:
        raise LookupError(f"{backbone} has no published size; its model folder has one")
    known = KNOWN[backbone]
    return known["denoiser"], _DATA["vaes"][known["vae"]]


def source(backbone: str) -> str:
    """Where the published sizes are from."""
    return str(KNOWN[backbone]["source"])


def _prompt(family: type[Backbone], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Zeros of the shapes that a prompt has."""
    shapes = _DATA["prompts"][family.denoiser_class.__name__]
    return {
        name: torch.zeros([1, *(n if isinstance(n, int) else config[n] for n in shape)])
        for name, shape in shapes.items()
    }

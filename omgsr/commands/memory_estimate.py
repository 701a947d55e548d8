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
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from omgsr.core import files, seeding
from omgsr.data.datasets import Batch
from omgsr.method.discriminator import Discriminator
from omgsr.method.generator import Generator
from omgsr.method.objective import Objective
from omgsr.models import features
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

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    def with_optimiser(self, name: Optimiser) -> "Estimate":
        """The same training with the other optimiser, which nothing else depends on."""
        return replace(self, parts={**self.parts, "optimiser": MOMENTS[name] * self.trained})


class Live(TorchDispatchMode):
    """Inside, the bytes of all tensors that are made and are still there, and their largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.peak = 0, 0
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Runs an operation and counts what is new of it."""
        if func is torch.ops.aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return 0.0 if args[0].is_floating_point() else 0  # a number that is drawn has no value
        given = {id(one) for one in _storages((args, kwargs))}
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if id(storage) not in given and storage not in self._seen:
                self._add(storage)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        self._seen[storage] = _Gone(self, storage.nbytes())
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)


class _Gone:
    """Goes with its tensor, as the value of a weak key, and takes its bytes off."""

    def __init__(self, live: Live, size: int) -> None:
        self.live, self.size = live, size

    def __del__(self) -> None:
        self.live.now -= self.size


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [x.untyped_storage() for x in tree_leaves(values) if isinstance(x, Tensor)]


def of_step(
    make: Callable[[], Networks], settings: Settings, side: int, *, fake: bool = True
) -> Estimate:
    """The memory of a training of what `make` builds, for images of `side` pixels.

    `make` is called with `meta` as torch's device. Without `fake` the step is really taken.
    """
    mode: AbstractContextManager[Any] = FakeTensorMode() if fake else nullcontext()
    weights = {n: w for n, w in settings.losses.items() if n not in ("lpips", "ssim")}
    meta = torch.device("meta")
    with meta:
        generator, network = make()
        if weights.get("vsd"):
            generator.add_regulariser(seed=0)
        levels = network.channels if weights.get("gan") else []
        heads = Discriminator(levels, settings.spectral_norm, settings.heads)
    memory.place(generator, network, meta, settings.precision, settings.gradient_checkpointing)
    generator.precision = settings.precision
    objective = Objective(
        generator=generator, features=network, discriminator=heads, settings=settings,
        weights=weights,
    )  # fmt: skip
    whole = nn.ModuleList([generator, network, heads])
    adapters = sum(p.numel() for p in generator.adapter_parameters())
    trained = [*generator.adapter_parameters(), *generator.regulariser_parameters()]
    trained += heads.parameters()
    count, moving = sum(p.numel() for p in trained), sum(p.nbytes for p in trained)
    parts = {
        "frozen weights": _bytes(whole) - moving,
        "adapters and heads": moving,
        "their gradients": moving,
        "optimiser": MOMENTS[settings.optimiser] * count,
        "average": 4 * adapters if settings.ema else 0,
    }
    with mode:
        _materialise(whole, trained)
        parts["activations"] = _activations(
            objective, settings.batch, side, settings.gradient_norms_every is not None
        )
    return Estimate(
        parts={name: size for name, size in parts.items() if size},
        frozen=sum(p.numel() for p in whole.parameters()) - count,
        trained=count,
    )


def _materialise(whole: nn.Module, trained: Sequence[nn.Parameter]) -> None:
    """Puts tensors on the CPU where those of the device `meta` are.

    Trained ones have a gradient, as in all passes of an optimiser step but the first.
    """
    made: dict[int, Tensor] = {}
    moved = {id(p) for p in trained}

    def other(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.is_meta:
            return x
        if id(x) not in made:
            new = torch.zeros(x.shape, dtype=x.dtype)
            if isinstance(x, nn.Parameter):
                new = nn.Parameter(new, x.requires_grad)
                new.grad = torch.zeros_like(new) if id(x) in moved else None
            made[id(x)] = new
        return made[id(x)]

    kept = list(whole.modules())  # so that no id is given twice
    for module in kept:
        for own in (module._parameters, module._buffers, module.__dict__):
            for name, value in list(own.items()):
                own[name] = other(value)


def _activations(objective: Objective, batch: int, side: int, measure: bool) -> int:
    """Most bytes at once of what one forward pass and its gradients make beside the gradients."""
    shape = (batch, 3, side, side)
    pair = Batch(torch.zeros(shape), torch.zeros(shape), [""] * batch)
    rngs = [seeding.torch_rng(0, i) for i in range(batch)]
    with Live() as live:
        objective.backward(pair, rngs, 1.0, measure)
    return live.peak


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
    convnext: tuple[str, Mapping[str, Any]],
    ranks: tuple[int, int],
) -> Networks:
    """Generator with fresh adapters and feature network of a backbone's true size, random weights.

    Sizes are those of the model folder, or the published ones. `convnext` is timm's name with its
    arguments, `ranks` are encoder's and denoiser's.
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
    name, arguments = convnext
    levels = features.prune(timm.create_model(name, num_classes=0, **arguments))
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

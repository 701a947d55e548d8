"""The three levels of Eqs. 8 and 10 in a network of timm, and its weights, by its class."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from timm.models import checkpoint_seq
from timm.models.convnext import ConvNeXt, checkpoint_filter_fn
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from omgsr.models import efficientnet_weights

STRIDES = [4, 8, 16]
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Family:
    """What is known of a class of timm's networks."""

    levels: tuple[tuple[str, ...], ...]
    """Names of the modules of each level, one after the other."""
    converted: Callable[[State, Any], tuple[State, dict[str, Any]]]
    """A state of other code, and timm's whole network => the state under timm's names, and `mean`
    and `std` of the images where they are not timm's."""
    pickled: bool = False
    """Whether weights are published as a file of torch.save (.pth) too."""

    @property
    def kept(self) -> tuple[str, ...]:
        """How the names of the weights begin that the levels need."""
        return tuple(prefix for level in self.prefixes for prefix in level)

    @property
    def prefixes(self) -> list[tuple[str, ...]]:
        """The same of each level."""
        return [tuple(f"{name}." for name in level) for level in self.levels]


FAMILIES: dict[type[nn.Module], Family] = {
    # Stage_l(Down_l(x)); the stem is Down_1, and the `downsample` of the first stage does nothing.
    ConvNeXt: Family(
        levels=(
            ("stem", "stages.0.downsample", "stages.0.blocks"),
            ("stages.1.downsample", "stages.1.blocks"),
            ("stages.2.downsample", "stages.2.blocks"),
        ),
        converted=lambda state, model: (checkpoint_filter_fn(state, model), {}),
    ),
    # Stage 0 has stride 2, and both 3 and 4 have 16.
    EfficientNet: Family(
        levels=(
            ("conv_stem", "bn1", "blocks.0", "blocks.1"), ("blocks.2",), ("blocks.3", "blocks.4"),
        ),
        converted=efficientnet_weights.converted,
        pickled=True,
    ),
}  # fmt: skip
"""By the class of timm, which has many networks; those of other strides are refused."""


class Level(nn.Sequential):
    """Modules one after the other, which can compute their activations again for the gradient."""

    grad_checkpointing = False

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_{l-1}, h, w) => (B, C_l, h/2, w/2); the first level takes the image by 4."""
        return checkpoint_seq(self, x) if self.grad_checkpointing else super().forward(x)


def family(model: nn.Module) -> Family:
    """That of a network's class; ValueError for another class or other strides."""
    known = [one for kind, one in FAMILIES.items() if isinstance(model, kind)]
    names = " or ".join(kind.__name__ for kind in FAMILIES)
    if not known:
        raise ValueError(f"expected a timm {names}, got {type(model).__name__}")
    found = [(info["reduction"], info["module"]) for info in _infos(model)]
    ends = [level[-1] for level in known[0].levels]
    if [stride for stride, _ in found] != STRIDES or not all(
        f"{end}.".startswith(f"{module}.") for end, (_, module) in zip(ends, found, strict=True)
    ):
        raise ValueError(f"expected levels of strides {STRIDES} at {ends}, got {found}")
    return known[0]


def levels(model: nn.Module) -> Iterator[Level]:
    """The modules of each level; a Sequential stands for its members, one checkpoint each."""
    for names in family(model).levels:
        yield Level(*_members(model.get_submodule(name) for name in names))


def channels(model: nn.Module) -> list[int]:
    """C_1..C_3."""
    return [info["num_chs"] for info in _infos(model)]


def prune(model: Any) -> Any:
    """A network without what comes after the third level, changed in place."""
    family(model)
    indices = [i for i, info in enumerate(model.feature_info) if info["reduction"] in STRIDES]
    model.prune_intermediate_layers(indices)
    return model


def _infos(model: Any) -> list[dict[str, Any]]:
    """What timm says of the levels."""
    return [info for info in model.feature_info if info["reduction"] in STRIDES]


def _members(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        yield from module if isinstance(module, nn.Sequential) else (module,)

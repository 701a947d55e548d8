"""Frozen features of a network of timm: levels 1 to 3, plain (Eq. 8) and L2-pooled (Eq. 10).

The paper's network is a ConvNeXt; feature_levels.py has the classes that can take its place.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import timm
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.models import feature_levels
from omgsr.models.feature_levels import Level
from omgsr.models.settings import departure


class Features(nn.Module):
    """The first three levels of a network of timm, frozen; one copy serves all losses.

    F^l = Stage_l(Down_l(F^{l-1})) has stride 4, 8 and 16.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: Any,
        mean: Sequence[float],
        std: Sequence[float],
        level_std: Sequence[float] | None = None,
    ) -> None:
        """`model`: of timm; `mean`, `std`: of its input normalisation, for images in [0, 1];
        `level_std`: what F^1..F^3 are divided by where they are given (feature_scale.py).
        """
        super().__init__()
        self.level_std = level_std
        self.levels = nn.ModuleList(feature_levels.levels(model))
        self.channels = feature_levels.channels(model)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """F^1..F^3 of images in [-1, 1] (Eq. 8): (B, 3, H, W) => (B, C_l, H/2^(l+1), W/2^(l+1))."""
        return self.plain_and_pooled(x)[0]

    def plain_and_pooled(
        self, x: Tensor, pooled: bool = False, plain: bool = True
    ) -> tuple[list[Tensor], list[Tensor]]:
        """F^1..F^3 if `plain` and L^0..L^3 if `pooled`, of images in [-1, 1] (Eqs. 8 and 10).

        F^l are divided by `level_std` where it is given, when all are computed; L^l never are.

        Level 1 before pooling is the same for both and is computed once. L^0 is the image in
        [0, 1]: around zero, the means of Eq. 11 would change sign and their ratio would jump.
        """
        unit = (x + 1) / 2
        first = self.levels[0]((unit - self.mean) / self.std)
        maps, chain = [first], [unit]
        if plain:
            for level in self.levels[1:]:
                maps.append(level(maps[-1]))
        if pooled:
            chain.append(l2_pool(first))
            for level in self.levels[1:]:
                chain.append(l2_pool(level(chain[-1])))
        return self._scaled(maps) if plain else [], chain if pooled else []

    def _scaled(self, maps: list[Tensor]) -> list[Tensor]:
        if self.level_std is None:
            return maps
        return [f / std for f, std in zip(maps, self.level_std, strict=True)]

    def checkpointing(self, on: bool) -> None:
        """Whether blocks compute their activations again for the gradient instead of keeping them.

        Without a gradient it makes no difference.
        """
        for module in self.modules():
            if isinstance(module, Level):
                module.grad_checkpointing = on

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: the features are frozen."""
        return super().train(False)


def l2_pool(x: Tensor) -> Tensor:
    """sqrt(Conv2d(x^2, w_h)) with the 3 x 3 Hann window (Eq. 10): (B, C, H, W) => same shape."""
    hann = torch.hann_window(5, periodic=False, dtype=x.dtype, device=x.device)[1:-1]
    window = torch.outer(hann, hann)
    window = (window / window.sum()).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), window, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def load(folder: Path) -> Features:
    """Reads features/config.json (architecture, arguments, mean, std, and level_std where heads see
    levels at one scale) and model.safetensors.
    """
    config = files.read_json(folder / "config.json")
    # `meta`: no memory for what lies behind the third level, at any time.
    arguments = {"num_classes": 0, "device": "meta", **config["arguments"]}
    model = feature_levels.prune(timm.create_model(config["architecture"], **arguments))
    with safe_open(folder / "model.safetensors", "pt") as stored:
        # Copied, since a tensor may else be the file itself, which DVC can replace.
        state = {key: _single(stored.get_tensor(key)) for key in model.state_dict()}
    model.load_state_dict(state, strict=True, assign=True)
    return Features(model, config["mean"], config["std"], config.get("level_std"))


def save(model: nn.Module, folder: Path, config: dict[str, object]) -> None:
    """Writes what `load` reads of a network trained here; in half precision, to be shipped."""
    kept = feature_levels.family(model).kept
    state = {k: v.contiguous() for k, v in model.state_dict().items() if k.startswith(kept)}
    write(halved(state), folder, config)


def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in half precision; whole numbers, as batch norms count by, stay."""
    return {k: v.half() if v.is_floating_point() else v for k, v in state.items()}


def _single(x: Tensor) -> Tensor:
    """A copy, numbers with a point in single precision."""
    return x.to(torch.float32 if x.is_floating_point() else x.dtype, copy=True)


def write(state: dict[str, Tensor], folder: Path, config: dict[str, object]) -> None:
    """Writes weights as they are, with the configuration that `load` builds the network from."""
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic(folder / "model.safetensors") as temporary:
        save_file(state, temporary)
    files.write_json(folder / "config.json", config)


def describe(folder: Path) -> dict[str, Any]:
    """Architecture and sha256 of the weights in `folder`, and how it is not the paper's."""
    config = files.read_json(folder / "config.json")
    name, level_std = config["architecture"], config.get("level_std")
    card = {
        "name": name,
        "sha256": sha256(folder / "model.safetensors"),
        "level_std": level_std,
        "departure": departure(name, level_std is not None),
    }
    return {key: value for key, value in card.items() if value}

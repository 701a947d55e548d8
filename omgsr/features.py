"""Frozen ConvNeXt features: levels 1 to 3, plain (Eq. 8) and L2-pooled (Eq. 10)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from omgsr import files

LEVELS = 3


class Features(nn.Module):
    """The first three stages of a timm ConvNeXt, frozen; one copy serves all losses.

    F^l = Stage_l(Down_l(F^{l-1})) has stride 4, 8 and 16.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """`model`: a timm ConvNeXt; `mean`, `std`: of its input normalisation, for [0, 1]."""
        super().__init__()
        if not hasattr(model, "stem") or len(getattr(model, "stages", ())) < LEVELS:
            raise ValueError(f"expected a timm ConvNeXt, got {type(model).__name__}")
        first = nn.Sequential(model.stem, model.stages[0])
        self.levels = nn.ModuleList([first, model.stages[1], model.stages[2]])
        self.channels = [info["num_chs"] for info in model.feature_info[:LEVELS]]
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """F^1..F^3 of images in [-1, 1] (Eq. 8): (B, 3, H, W) => (B, C_l, H/2^(l+1), W/2^(l+1))."""
        return self.plain_and_pooled(x)[0]

    def plain_and_pooled(
        self, x: Tensor, pooled: bool = False
    ) -> tuple[list[Tensor], list[Tensor]]:
        """F^1..F^3 and, if `pooled`, L^0..L^3 of images in [-1, 1] (Eqs. 8 and 10).

        Level 1 before pooling is the same for both and is computed once. L^0 is the image in
        [0, 1]: around zero, the means of Eq. 11 would change sign and their ratio would jump.
        """
        unit = (x + 1) / 2
        first = self.levels[0]((unit - self.mean) / self.std)
        plain, chain = [first], [unit]
        for level in self.levels[1:]:
            plain.append(level(plain[-1]))
        if pooled:
            chain.append(l2_pool(first))
            for level in self.levels[1:]:
                chain.append(l2_pool(level(chain[-1])))
        return plain, chain if pooled else []

    def train(self, mode: bool = True) -> Features:
        """Stays in evaluation mode: the features are frozen."""
        return super().train(False)


def l2_pool(x: Tensor) -> Tensor:
    """sqrt(Conv2d(x^2, w_h)) with the 3 x 3 Hann window (Eq. 10): (B, C, H, W) => same shape."""
    hann = torch.hann_window(5, periodic=False, dtype=x.dtype, device=x.device)[1:-1]
    window = torch.outer(hann, hann)
    window = (window / window.sum()).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x.square(), window, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def load(folder: Path) -> Features:
    """Reads features/config.json (architecture, arguments, mean, std) and model.safetensors."""
    config = files.read_json(folder / "config.json")
    model = timm.create_model(config["architecture"], num_classes=0, **config["arguments"])
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    return Features(model, tuple(config["mean"]), tuple(config["std"]))


def save(model: nn.Module, folder: Path, config: dict[str, object]) -> None:
    """Writes what `load` reads; in half precision, since the weights stay frozen."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    files.write_json(folder / "config.json", config)


def fetch(name: str, path: str | None, folder: Path) -> None:
    """Puts a pre-trained timm ConvNeXt into `folder`: from a safetensors file or from timm's hub.

    Raises FileNotFoundError with what to download when neither can be had.
    """
    try:
        overlay = {"file": path} if path else None
        model = timm.create_model(
            name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay
        )
    except Exception as error:
        raise FileNotFoundError(
            f"foundation.features: the weights of timm model {name!r} could not be had from "
            f"{path or 'the hub'} ({type(error).__name__}: {error}). Download model.safetensors of "
            f"timm/{name} where there is a network and set foundation.features.path to it"
        ) from error
    data = timm.data.resolve_model_data_config(model)
    config = {"architecture": name, "arguments": {}, "mean": data["mean"], "std": data["std"]}
    save(model, folder, config)


def describe(folder: Path) -> dict[str, str]:
    """Architecture and sha256 of the weights in `folder`."""
    with open(folder / "model.safetensors", "rb") as handle:
        digest = hashlib.file_digest(handle, "sha256").hexdigest()
    return {"name": files.read_json(folder / "config.json")["architecture"], "sha256": digest}

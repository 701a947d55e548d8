"""From a foundation folder to a backbone."""

from pathlib import Path
from typing import Any

import torch

from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.models import model_folder
from omgsr.models.backbones import compact
from omgsr.models.backbones.base import Backbone
from omgsr.models.backbones.compact import Quantise
from omgsr.models.backbones.flux import Flux, MiniFlow
from omgsr.models.backbones.qwen_image import QwenImage
from omgsr.models.backbones.sd3 import StableDiffusion3
from omgsr.models.backbones.stable_diffusion import Mini, StableDiffusion
from omgsr.models.backbones.z_image import ZImage
from omgsr.models.prompt import EMBEDDING

# Which model of a family it is, the foundation stage has checked (omgsr/models/catalogue.py).
FAMILIES: dict[str, type[Backbone]] = {
    **dict.fromkeys(("sd", "sd15", "sd21-base", "sd21-768"), StableDiffusion),
    "mini": Mini,
    "flux1-dev": Flux,
    "mini_flow": MiniFlow,
    **dict.fromkeys(("sd35-medium", "sd35-large"), StableDiffusion3),
    "qwen-image": QwenImage,
    "z-image": ZImage,
}


def load(
    foundation: Path, dtype: torch.dtype = torch.float32, quantise: Quantise | None = None
) -> Backbone:
    """The backbone that foundation/foundation.json describes; `path` is relative to its folder.

    `dtype` is that of the denoiser's weights, in which they are read: a bf16 of FLUX takes 24 GB,
    an fp32 48. Their blocks are in 4 bits where the description or `quantise` says so.
    Raises FileNotFoundError for a missing part, ValueError for an unknown backbone and for weights
    that have changed inside `foundation`. Those that stay elsewhere are gigabytes: they are hashed
    once, by the stage.
    """
    card = files.read_json(foundation / "foundation.json")
    if card["backbone"] not in FAMILIES:
        raise ValueError(
            f"{foundation}: backbone {card['backbone']!r} is unknown; known: {', '.join(FAMILIES)}"
        )
    family = FAMILIES[card["backbone"]]
    backbone = family.from_folder(foundation, card, dtype)
    if quantise or card.get("quantise"):
        compact.quantise(backbone.denoiser)
    if not Path(card["path"]).is_absolute():
        _require_unchanged(foundation, family, card)
    return backbone


def _require_unchanged(foundation: Path, family: type[Backbone], card: dict[str, Any]) -> None:
    """Refuses weights of which a disk has flipped a bit: DVC knows files by size and time."""
    folder, embedding = foundation / card["path"], foundation / EMBEDDING
    wanted = [card["sha256"], card["features"]["sha256"]]
    there = model_folder.digest(folder, family.denoiser_folder, embedding, card)
    if [there, sha256(foundation / "features" / "model.safetensors")] != wanted:
        raise ValueError(
            f"{foundation}: not the weights that foundation.json describes; delete {foundation}/ "
            "and run `dvc repro`, which brings it back, or copy it again"
        )

"""From a foundation folder to a backbone."""

from __future__ import annotations

from pathlib import Path

from omgsr import files
from omgsr.backbones.base import Backbone
from omgsr.backbones.sd import StableDiffusion

FAMILIES: dict[str, type[StableDiffusion]] = {"sd": StableDiffusion}


def load(foundation: Path) -> Backbone:
    """The backbone that foundation/foundation.json describes; `path` is relative to its folder."""
    card = files.read_json(foundation / "foundation.json")
    family = FAMILIES.get(card["backbone"])
    if family is None:
        raise ValueError(
            f"{foundation}: backbone {card['backbone']!r} is unknown; known: {', '.join(FAMILIES)}"
        )
    return family.from_folder(foundation, foundation / card["path"])

"""From a foundation folder to a backbone."""

from pathlib import Path

from omgsr.core import files
from omgsr.models.backbones.base import Backbone
from omgsr.models.backbones.stable_diffusion import Mini, StableDiffusion

# Which model of a family it is, the foundation stage has checked (omgsr/models/catalogue.py).
FAMILIES: dict[str, type[StableDiffusion]] = {
    **dict.fromkeys(("sd", "sd15", "sd21-base", "sd21-768"), StableDiffusion),
    "mini": Mini,
}


def load(foundation: Path) -> Backbone:
    """The backbone that foundation/foundation.json describes; `path` is relative to its folder."""
    card = files.read_json(foundation / "foundation.json")
    family = FAMILIES.get(card["backbone"])
    if family is None:
        raise ValueError(
            f"{foundation}: backbone {card['backbone']!r} is unknown; known: {', '.join(FAMILIES)}"
        )
    origin = card.get("timestep_origin", 0)  # cards of before it was a setting
    return family.from_folder(foundation, foundation / card["path"], origin)

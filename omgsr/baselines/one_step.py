"""OSEDiff and PiSA-SR as methods: their generators in OMGSR's own restoration."""

from pathlib import Path
from typing import Any

from omgsr.baselines import one_step_models
from omgsr.core import files
from omgsr.inference.restore import OneStep

_GENERATOR = ("latent", "lambda_pix", "lambda_sem")


def load(
    kind: str, path: Path | str, foundation: Path | str, *, device: Any, **given: Any
) -> OneStep:
    """The method of a converted folder or a published .pkl, on a foundation of SD2.1-base.

    `given` are options of `converted.load` and of OneStep, with `prompt` for the text.
    """
    text = given.pop("prompt", None)
    own = {name: given.pop(name) for name in _GENERATOR if name in given}
    generator = one_step_models.load(kind, path, foundation, text=text, **own).to(device)
    method = OneStep(generator, **given)
    method.notes += notes(kind, Path(foundation), text, own.get("latent", "mode"))
    return method


def notes(kind: str, foundation: Path, text: str | None, latent: str) -> list[str]:
    """Where a method departs from its authors' program."""
    card = files.read_json(foundation / "foundation.json")
    used, found = card["prompt"] if text is None else text, []
    if kind == "osediff":
        found.append(
            f"osediff: the prompt {used!r} for every image; its own program takes the tags that "
            "RAM finds in the image"
        )
    elif used:
        found.append(f"{kind}: the prompt {used!r}; its own program uses an empty one")
    if latent == "mode":
        found.append(f"{kind}: latents are modes; its own program draws samples without a seed")
    return found

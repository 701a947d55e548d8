"""A trained run on disk: two PEFT folders and the run card that says how to use them.

The names of the folders are the family's (omgsr/models/backbones): those of our runs, which are the
official ones of OMGSR-S, and others that were released.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.core.settings import ConfigError, parse, section
from omgsr.method import adapter_files, lora
from omgsr.method.generator import Generator
from omgsr.method.settings import Heads
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Latent
from omgsr.models.backbones.compact import Quantise

CARD = "omgsr.json"
Layout = tuple[str, str]
"""Names of the folders of the encoder's and of the denoiser's adapter."""
_FAMILIES = from_folder.FAMILIES.values()
LAYOUTS: tuple[Layout, ...] = tuple(dict.fromkeys(p for f in _FAMILIES for p in f.adapter_folders))
ENCODER, DENOISER = LAYOUTS[0]


class RunError(ValueError):
    """A run folder that does not fit its card or its backbone."""


@section
class Card:
    """What inference has to know, written by training; names of settings stand for these."""

    variant: str
    """Name of the losses in params.yaml."""
    t: int
    """Timestep of injection, counted as foundation.timestep_origin says."""
    t_source: str
    """`auto` for the computed t*, else `given`."""
    losses: dict[str, float]
    latent: Latent
    encoder_rank: int
    unet_rank: int
    steps: int
    prompt: str
    seed: int
    scale: int
    foundation: dict[str, Any]
    """Backbone id, revision and hash, as in foundation.json."""
    heads: Heads | None = None
    """Kind of the discriminator's heads, or None where there was none."""
    ema: float | None = None
    """Decay of the average that the adapters are, or None."""
    final: str = "last"
    """Why these adapters: `last`, or the validation metric that was best at their step."""
    final_step: int | None = None
    """The step they are of."""
    adapters: dict[str, str]
    """sha256 of both adapter files."""


def save(generator: Generator, folder: Path, fields: Mapping[str, Any]) -> Card:
    """Writes the adapters and, last, the card; `fields` are those of Card but `adapters`."""
    encoder, denoiser = generator.backbone.adapter_folders[0]
    lora.save(generator.backbone.vae.encoder, folder / encoder)
    lora.save(generator.backbone.denoiser, folder / denoiser)
    card = Card(**fields, adapters=hashes(folder))
    files.write_json(folder / CARD, asdict(card))
    return card


def read_card(folder: Path) -> Card:
    """The card of a run folder; unknown, missing and wrong fields are named."""
    path = folder / CARD
    try:
        return parse(Card, files.read_json(path), f"{path}")
    except ConfigError as error:
        raise RunError(f"{error}; not a run card of this version, train again") from error


def load(
    folder: Path,
    foundation: Path,
    t: int | None = None,
    dtype: torch.dtype = torch.float32,
    quantise: Quantise | None = None,
) -> tuple[Generator, Card | None]:
    """The generator of a run, or of released adapters, on `foundation`, ready for inference.

    `dtype` and `quantise` are those of the denoiser's weights (from_folder.py).
    Adapters without a card, such as the official ones, need `t`: the index into the scheduler's
    alphas_cumprod, counted from 0 whatever the foundation's timestep_origin is, or t of flow
    matching. Their latents are modes, where the official code draws unseeded samples. A run has its
    t in its card, and `t` may only confirm it. Raises RunError when adapters, foundation, card and
    `t` do not fit together.
    """
    _require_adapters(folder)
    description = files.read_json(foundation / "foundation.json")
    card = read_card(folder) if (folder / CARD).exists() else None
    if card is not None:
        _check(card, folder, foundation, description["sha256"])
    index, latent = _step(folder, card, t)
    backbone = from_folder.load(foundation, dtype, quantise)
    encoder, denoiser = layout(folder, backbone.adapter_folders)
    backbone.vae.encoder = adapter_files.load(backbone.vae.encoder, folder / encoder)
    backbone.denoiser = adapter_files.load(backbone.denoiser, folder / denoiser)
    generator = Generator(backbone, index + _origin(description), latent)
    return generator.requires_grad_(False).eval(), card


def _step(folder: Path, card: Card | None, index: int | None) -> tuple[int, Latent]:
    """Index into the schedule, from 0, and kind of latent: the card's, or those without a card."""
    if card is None:
        if index is None:
            raise RunError(
                f"{folder}: no run card ({CARD}); give --timestep (OMGSR's released SD2.1-base "
                "adapters: 273, FLUX.1-dev: 244)"
            )
        return index, "mode"
    trained = card.t - _origin(card.foundation)
    if index not in (None, trained):
        raise RunError(
            f"{folder}: its card says timestep {card.t}, which is index {trained}; got index "
            f"{index}: leave it out, a run is restored at the timestep it was trained at"
        )
    return trained, card.latent


def _origin(description: Mapping[str, Any]) -> int:
    """Number of the first timestep; what was written before it was a setting counts from 0."""
    return int(description.get("timestep_origin", 0))


def _require_adapters(folder: Path) -> None:
    """Refuses a folder that is not a model, and names the one in it that is."""
    names = {name for pair in LAYOUTS for name in pair}
    if (folder / CARD).exists() or any((folder / name).is_dir() for name in names):
        return
    inside = folder / "model"
    hint = f"; did you mean {inside}?" if (inside / CARD).exists() else ""
    raise RunError(
        f"{folder}: no model: it needs {' or '.join(f'{e}/ and {d}/' for e, d in LAYOUTS)}, as "
        f"`dvc repro` and the official release write them{hint}"
    )


def layout(folder: Path, first: Sequence[Layout] = ()) -> Layout:
    """The layout of which a folder holds most; of equals the earliest of `first` and LAYOUTS."""
    return max((*first, *LAYOUTS), key=lambda pair: sum((folder / n).is_dir() for n in pair))


def _check(card: Card, folder: Path, foundation: Path, here: str) -> None:
    """Refuses adapters or a foundation that are not those of the card."""
    trained_on = card.foundation["sha256"]
    if here != trained_on:
        raise RunError(
            f"{folder}: trained on foundation {trained_on[:12]}, but {foundation} "
            f"holds {here[:12]}; use that foundation or run `dvc repro` to train anew"
        )
    for name, digest in hashes(folder).items():
        if card.adapters.get(name) != digest:
            raise RunError(
                f"{folder / name}: not the adapter that the card describes; delete it and run "
                "`dvc repro`, which brings it back, or copy it again"
            )


def hashes(folder: Path) -> dict[str, str]:
    """sha256 of both adapter files of a run folder."""
    paths = {name: folder / name / adapter_files.WEIGHTS for name in layout(folder)}
    for path in paths.values():
        if not path.is_file():
            raise RunError(f"{path}: missing from the run folder; copy it there or train again")
    return {name: sha256(path) for name, path in paths.items()}

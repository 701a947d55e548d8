"""A trained run on disk: two PEFT folders and the run card that says how to use them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omgsr import backbones, files, lora
from omgsr._build import ConfigError, build
from omgsr.backbones.base import Latent
from omgsr.generator import Generator

ENCODER, DENOISER, CARD = "vae_encoder_lora_adapter", "unet_lora_adapter", "omgsr.json"


class RunError(ValueError):
    """A run folder that does not fit its card or its backbone."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What inference has to know, written by training; nobody types it a second time."""

    variant: str
    """Name of the losses in params.yaml."""
    t: int
    """Timestep of injection, 1..T-1."""
    t_source: str
    """`auto` for the computed t*, else `given`."""
    losses: dict[str, float]
    """Loss weights (Eq. 13)."""
    latent: Latent
    """Mode or sample of the VAE's posterior."""
    encoder_rank: int
    """LoRA rank in the VAE encoder."""
    unet_rank: int
    """LoRA rank in the denoiser."""
    steps: int
    """Optimiser steps trained."""
    prompt: str
    """The one prompt."""
    seed: int
    """Seed of the run."""
    scale: int
    """Upscaling factor."""
    foundation: dict[str, Any]
    """Backbone id, revision and hash, as in foundation.json."""
    adapters: dict[str, str]
    """sha256 of both adapter files."""


def save(generator: Generator, folder: Path, fields: Mapping[str, Any]) -> Card:
    """Writes the adapters and, last, the card; `fields` are those of Card but `adapters`."""
    lora.save(generator.backbone.vae.encoder, folder / ENCODER)
    lora.save(generator.backbone.denoiser, folder / DENOISER)
    card = Card(**fields, adapters=_hashes(folder))
    files.write_json(folder / CARD, asdict(card))
    return card


def read_card(folder: Path) -> Card:
    """The card of a run folder; unknown, missing and wrong fields are named."""
    path = folder / CARD
    try:
        return build(Card, files.read_json(path), f"{path}:")
    except ConfigError as error:
        raise RunError(f"{error}; not a run card of this version, train again") from error


def load(folder: Path, foundation: Path) -> tuple[Generator, Card]:
    """The generator of a run on the foundation it was trained on, ready for inference.

    Raises RunError when the adapters or the foundation are not those of the card.
    """
    card = read_card(folder)
    here = files.read_json(foundation / "foundation.json")
    if here["sha256"] != card.foundation["sha256"]:
        raise RunError(
            f"{folder}: trained on foundation {card.foundation['sha256'][:12]}, but {foundation} "
            f"holds {here['sha256'][:12]}; use that foundation or run `dvc repro` to train anew"
        )
    for name, digest in _hashes(folder).items():
        if card.adapters.get(name) != digest:
            raise RunError(f"{folder / name}: not the adapter that the card describes; train again")
    backbone = backbones.load(foundation)
    backbone.vae.encoder = lora.load(backbone.vae.encoder, folder / ENCODER)
    backbone.denoiser = lora.load(backbone.denoiser, folder / DENOISER)
    generator = Generator(backbone, card.t, card.latent)
    return generator.requires_grad_(False).eval(), card


def _hashes(folder: Path) -> dict[str, str]:
    names = (ENCODER, DENOISER)
    return {name: _sha256(folder / name / "adapter_model.safetensors") for name in names}


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise RunError(f"{path}: missing from the run folder; copy it there or train again")
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()

"""The method that `omgsr upscale` was asked for."""

import argparse
from dataclasses import asdict
from typing import Any

import torch

from omgsr.baselines import registry
from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.inference import benchmarks, placement
from omgsr.inference.restore import OneStep
from omgsr.method import run_card
from omgsr.models import prompt

_OWN = ("tile", "overlap", "process_size", "dtype", "seed")
_TAKEN = {
    "osediff": (*_OWN, "prompt"),
    "pisasr": (*_OWN, "prompt"),
    "realesrgan": ("dtype", "tile", "overlap"),
}
"""Options of the command line that a method beside OMGSR takes, where they are given."""


def load(given: argparse.Namespace, where: Any) -> tuple[Any, dict[str, Any]]:
    """The method and what the record says of its model."""
    color: Any = "none" if given.color == "nofix" else given.color
    if given.method == "omgsr":
        return _omgsr(given, where, color)
    asked = {name: getattr(given, name) for name in _TAKEN.get(given.method, ())}
    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    method = registry.load(
        given.method, path=given.model, foundation=given.foundation, device=where, color=color,
        **options,
    )  # fmt: skip
    weights = {"path": str(given.model), "sha256": sha256(given.model)} if given.model else {}
    return method, {"scale": 4, "method": given.method, "weights": weights}


def _omgsr(given: argparse.Namespace, where: Any, color: Any) -> tuple[Any, dict[str, Any]]:
    reading = {"dtype": placement.weights(given.dtype), "quantise": given.quantise}
    generator, card = run_card.load(given.model, given.foundation, given.timestep, **reading)
    about = files.read_json(given.foundation / "foundation.json")
    if given.prompt is not None:
        model = given.foundation / about["path"]
        if not (model / "text_encoder").is_dir():
            raise ValueError(f"--prompt: {model} has no text_encoder/; leave --prompt out")
        backbone = generator.backbone
        backbone.prompt = prompt.embed(model, given.prompt, backbone.embedding)
    generator = placement.place(benchmarks.merge(generator), where, given.offload)
    workers = torch.get_num_threads() if given.batch > 1 else None
    own = {name: getattr(given, name) for name in _OWN}
    method = OneStep(generator, color=color, workers=workers, view=given.view, **own)
    told = {
        "scale": card.scale if card else 4,
        "method": "omgsr",
        "card": asdict(card) if card else None,
        "adapters": run_card.hashes(given.model),
        "foundation": about,
    }
    return method, told

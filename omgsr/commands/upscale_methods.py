"""The method that `omgsr upscale` was asked for."""

import argparse
from dataclasses import asdict
from typing import Any

import torch

from omgsr.baselines import registry
from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.inference import benchmarks
from omgsr.inference.restore import OneStep
from omgsr.method import run_card
from omgsr.models import prompt


def load(given: argparse.Namespace, where: Any) -> tuple[Any, dict[str, Any]]:
    """The method and what the record says of its model."""
    color: Any = "none" if given.color == "nofix" else given.color
    own = {
        "tile": given.tile, "overlap": given.overlap, "process_size": given.process_size,
        "dtype": given.dtype, "seed": given.seed,
    }  # fmt: skip
    if given.method == "omgsr":
        return _omgsr(given, where, color, own)
    options: dict[str, Any] = {}
    if given.method in ("osediff", "pisasr"):
        options = {name: value for name, value in own.items() if value is not None}
        options |= {"prompt": given.prompt} if given.prompt is not None else {}
    elif given.method == "realesrgan":
        own = {name: own[name] for name in ("dtype", "tile", "overlap")}
        options = {name: value for name, value in own.items() if value is not None}
    method = registry.load(
        given.method, path=given.model, foundation=given.foundation, device=where, color=color,
        **options,
    )  # fmt: skip
    weights = {"path": str(given.model), "sha256": sha256(given.model)} if given.model else {}
    return method, {"scale": 4, "method": given.method, "weights": weights}


def _omgsr(
    given: argparse.Namespace, where: Any, color: Any, own: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    generator, card = run_card.load(given.model, given.foundation, given.timestep)
    about = files.read_json(given.foundation / "foundation.json")
    if given.prompt is not None:
        model = given.foundation / about["path"]
        if not (model / "text_encoder").is_dir():
            raise ValueError(f"--prompt: {model} has no text_encoder/; leave --prompt out")
        generator.backbone.prompt = prompt.embed(model, given.prompt)
    generator = benchmarks.merge(generator).to(where)
    workers = torch.get_num_threads() if given.batch > 1 else None
    method = OneStep(generator, color=color, workers=workers, **own)
    told = {
        "scale": card.scale if card else 4,
        "method": "omgsr",
        "card": asdict(card) if card else None,
        "adapters": run_card.hashes(given.model),
        "foundation": about,
    }
    return method, told

"""A model in the hub's folder layout: its parts, and one hash over all that is computed with."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omgsr.core.fingerprint import sha256
from omgsr.models import weight_files


def configurations(folder: Path, denoiser: str) -> list[Path]:
    """Scheduler's, VAE's and denoiser's; a FileNotFoundError names a missing one."""
    parts = ("scheduler/scheduler_config.json", "vae/config.json", f"{denoiser}/config.json")
    for path in (folder / part for part in parts):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; a model folder holds configurations and safetensors weights"
            )
    return [folder / part for part in parts]


def parts(folder: Path, denoiser: str) -> tuple[list[Path], list[Path]]:
    """Configurations (latent scale, schedule) and weights; a FileNotFoundError names a missing.

    `denoiser` is the sub-folder of the family's denoiser.
    """
    configs, networks = configurations(folder, denoiser), (folder / "vae", folder / denoiser)
    return configs, [p for n in networks for p in weight_files.find(n, "diffusion_pytorch_model")]


def digest(folder: Path, denoiser: str, embedding: Path, card: Mapping[str, Any]) -> str:
    """SHA-256 over configurations, the embedding of the prompt and weights, in this order.

    What `card` (foundation.json) says of the schedule beside the checkpoint is in it.
    """
    configs, weights = parts(folder, denoiser)
    whole = hashlib.sha256()
    for path in [*configs, embedding, *weights]:
        whole.update(bytes.fromhex(sha256(path)))
    # With either, the same t is another step: no run may be restored with another.
    if card.get("timestep_origin", 0):
        whole.update(f"timestep_origin {card['timestep_origin']}".encode())
    if "flow" in card:
        whole.update(f"flow {json.dumps(card['flow'], sort_keys=True)}".encode())
    return whole.hexdigest()

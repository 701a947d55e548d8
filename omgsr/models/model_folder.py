"""A model in the hub's folder layout: its parts, and one hash over all that is computed with."""

import hashlib
from pathlib import Path

from omgsr.core.fingerprint import sha256
from omgsr.models import weight_files

CONFIGS = ("scheduler/scheduler_config.json", "vae/config.json", "unet/config.json")


def parts(folder: Path) -> tuple[list[Path], list[Path]]:
    """Configurations (latent scale, schedule) and weights; a FileNotFoundError names a missing."""
    configs = [folder / name for name in CONFIGS]
    for path in configs:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; a model folder holds configurations and safetensors weights"
            )
    networks = folder / "vae", folder / "unet"
    return configs, [p for n in networks for p in weight_files.find(n, "diffusion_pytorch_model")]


def digest(folder: Path, embedding: Path, origin: int) -> str:
    """SHA-256 over configurations, the embedding of the prompt and weights, in this order."""
    configs, weights = parts(folder)
    whole = hashlib.sha256()
    for path in [*configs, embedding, *weights]:
        whole.update(bytes.fromhex(sha256(path)))
    if origin:  # the same t is then another step: no run may be restored with the other origin
        whole.update(f"timestep_origin {origin}".encode())
    return whole.hexdigest()

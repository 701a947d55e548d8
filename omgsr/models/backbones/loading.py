"""The parts of a backbone from the folders that hold them."""

from pathlib import Path
from typing import Any

import torch

from omgsr.models import prompt, weight_files
from omgsr.models.text_encoders import Tensors


def require(folder: Path, denoiser: str) -> None:
    """Refuses a model folder without a configuration, by a FileNotFoundError that names it."""
    for part in ("vae/config.json", f"{denoiser}/config.json", "scheduler/scheduler_config.json"):
        if not (folder / part).is_file():
            raise FileNotFoundError(
                f"{folder / part} is missing; a model folder holds vae/, {denoiser}/ and "
                "scheduler/ as on the hub; run `dvc repro -f foundation` or correct foundation.path"
            )


def embedded(foundation: Path, names: tuple[str, ...]) -> Tensors:
    """The prompt's tensors of a foundation folder, in fp32."""
    path = foundation / prompt.EMBEDDING
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the foundation stage writes it: run `dvc repro -f foundation`"
        )
    return prompt.read(path, names)


def network(kind: Any, folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """A network of diffusers from its folder; a weight that is missing is never left random."""
    weight_files.find(folder, "diffusion_pytorch_model")
    made, report = kind.from_pretrained(
        folder,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        torch_dtype=dtype,
    )
    odd = [*report["missing_keys"], *(str(key) for key in report["mismatched_keys"])]
    if odd:
        raise ValueError(
            f"{folder}: its weights are not those of its config.json, which needs {odd[0]} and "
            f"{len(odd) - 1} more; get the folder again"
        )
    return made

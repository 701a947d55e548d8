"""What a result was computed with: versions and machine, for the record beside it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = (
    "omgsr", "torch", "torchvision", "diffusers", "peft", "timm", "accelerate", "pyiqa", "basicsr",
    "numpy", "pillow", "dvc", "mlflow",
)  # fmt: skip


def describe() -> dict[str, object]:
    """Python, packages, processor and GPU; nothing that names a person or a host."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed"
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": len(os.sched_getaffinity(0)),
        "gpus": gpus,
        "packages": packages,
    }

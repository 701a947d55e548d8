"""Where to compute."""

import torch

from omgsr.core import exact

NAMES = ("auto", "cuda", "mps", "cpu")


def pick(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is a device of it, else Apple's MPS, else the CPU.

    Raises ValueError for another name, and where `cuda` or `mps` is asked for and absent.
    """
    exact.settle()
    if name not in NAMES:
        raise ValueError(f"device: got {name!r}, allowed: {', '.join(NAMES)}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for kind, usable in [*there.items(), ("cpu", True)]:
        if usable and name in ("auto", kind):
            return torch.device(kind)
    if name == "mps":
        raise ValueError("device: got 'mps', but this machine has no MPS; use auto or cpu")
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    raise ValueError(
        f"device: got 'cuda', but no CUDA device can be used here (torch {torch.__version__}, "
        f"{built}); use auto or cpu, or look at what nvidia-smi says"
    )

"""PyIQA's weight files with random content, under their published names, for a mirror folder.

Written in the layout that PyIQA and torchvision read. Large matrices are one row repeated, which
torch stores once: the files stay small.
"""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import torch
import torchvision
from torch import Tensor


def thin(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same names and shapes; one row of each large tensor, repeated."""
    return {
        name: value.detach()[:1].clone().expand(value.shape) if value.numel() > 100_000 else value
        for name, value in state.items()
    }


def save(state: object, path: Path) -> str:
    """Writes the file => its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def backbone(name: str, folder: Path, stem: str) -> tuple[str, dict[str, Tensor]]:
    """A network of torchvision, its name ending in its hash => (the name, the weights)."""
    state = thin(getattr(torchvision.models, name)().state_dict())
    digest = save(state, folder / "new.pth")
    file = f"{stem}-{digest[:8]}.pth"
    (folder / "new.pth").rename(folder / file)
    return file, state


def inception(folder: Path) -> Path:
    """FID's network: PyIQA's own layers."""
    from pyiqa.archs import inception as module

    loads = module.load_pretrained_network
    module.load_pretrained_network = lambda *_: None
    try:
        with warnings.catch_warnings(action="ignore"):  # of torchvision, about PyIQA's call
            network = module.fid_inception_v3()
    finally:
        module.load_pretrained_network = loads
    path = folder / "pt_inception-2015-12-05-6726825d.pth"
    save(network.state_dict(), path)
    return path

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
from torch import Tensor, nn


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
    torch.manual_seed(0)
    for part in network.modules():  # torch's own start lets nothing of an image through
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight)
    path = folder / "pt_inception-2015-12-05-6726825d.pth"
    save(network.state_dict(), path)
    return path


def clip(folder: Path, file: str, vision: tuple[object, int, int | None]) -> str:
    """A small CLIP of OpenAI's layout, which fixes every size => its sha256.

    `vision` is layers, width and patch; no patch makes it a ResNet.
    """
    from pyiqa.archs import clip_model

    network = clip_model.CLIP(64, 224, *vision, 77, 49408, 64, 1, 1)
    path = folder / file
    # OpenAI's files are programs of TorchScript, of which PyIQA takes the weights.
    with warnings.catch_warnings(action="ignore"):  # torch would rather have another format
        torch.jit.trace(_holder(network), torch.zeros(1)).save(str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()


class _Holder(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


def _holder(network: nn.Module) -> nn.Module:
    """The weights under their names, without the computation."""
    holder = _Holder()
    for name, value in network._parameters.items():
        holder.register_parameter(name, value)
    for name, value in network._buffers.items():
        holder.register_buffer(name, value)
    for name, part in network.named_children():
        holder.add_module(name, _holder(part))
    return holder

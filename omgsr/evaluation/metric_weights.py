"""PyIQA's weight files by their published names: from OMGSR_WEIGHTS, caches, or a requirement.

While a metric is made, torch's cache is an empty folder and every download is a look-up: each file
that the metric wants passes here once, under its published name, and is known with its sha256.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote

import torch

from omgsr.core.fingerprint import sha256
from omgsr.core.offline import MissingFile
from omgsr.evaluation.metric_table import inside

MIRROR = "OMGSR_WEIGHTS"
"""Environment variable: a folder of weight files under their published names."""
_COMPLETE = {"NIMA", "MANIQA"}
"""Architectures whose file holds every weight, read strictly: timm's own need not be there."""
_CARRIED = {
    f"{net}_shift_tolerant.pth": ("stlpips_pytorch", "weights", "vST0.0") for net in ("alex", "vgg")
}
"""Published names of files that a requirement carries => its module, and the folder in that."""


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A file that a metric has read."""

    file: str
    """Its published name."""
    sha256: str
    bytes: int


def mirrored(name: str) -> Path | None:
    """A file of the folder that OMGSR_WEIGHTS names; None without the one or the other."""
    given = os.environ.get(MIRROR)
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        raise NotADirectoryError(f"{MIRROR}={given}: no folder; unset it or name the weights' one")
    return folder / name if (folder / name).is_file() else None


def described(path: Path, name: str = "") -> WeightFile:
    """A file's record; `name` is the published one where the path has another."""
    return WeightFile(file=name or path.name, sha256=sha256(path), bytes=path.stat().st_size)


@contextmanager
def published(architecture: str) -> Iterator[list[WeightFile]]:
    """Gives a list that fills with the files that are read; one that is absent is a MissingFile.

    A file that holds more than weights is refused: PyIQA would run the code in it. Text features
    that an earlier program has left in the cache (LIQE) are not believed but computed.
    """
    from pyiqa import archs
    from pyiqa.archs import clip_model
    from pyiqa.utils import download_util

    # Before the folder is another one: the modules keep the name that they find when imported.
    archs._lazy_import_arch(architecture)
    holders = [download_util]
    if architecture == "LIQE":
        holders.append(import_module("pyiqa.archs.liqe_arch"))
    shelf = _Shelf(Path(torch.hub.get_dir()))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "pyiqa").mkdir()
        changes = [
            (torch.hub, "_hub_dir", str(folder)),
            *((one, "download_url_to_file", shelf.link) for one in (torch.hub, download_util)),
            *((holder, "DEFAULT_CACHE_DIR", str(folder / "pyiqa")) for holder in holders),
            (clip_model, "_download", shelf.clip),
        ]
        if architecture in _COMPLETE:
            timm = import_module("timm")
            changes.append((timm, "create_model", _untrained(timm.create_model)))
        if architecture == "STLPIPS":
            module = import_module("pyiqa.archs.stlpips_arch")
            changes.append((module, "load_pretrained_network", _fill))
            changes.append((module, "VGG", _headless))
        for owner, name, value in changes:
            stack.enter_context(patch.object(owner, name, value))
        # torch.load refuses anything but tensors, whatever its caller asks for.
        stack.enter_context(patch.dict(os.environ, {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"}))
        yield shelf.read


class _Shelf:
    """The look-up behind the functions that would download."""

    def __init__(self, cache: Path) -> None:
        self.places = [cache / name for name in ("pyiqa", "checkpoints", "clip")]
        self.read: list[WeightFile] = []

    def find(self, url: str) -> Path:
        asked = url.rpartition("/")[2]
        name = unquote(asked)
        # PyIQA's own cache keeps a plus sign as the address has it, %2B.
        places = [place / one for place in self.places for one in dict.fromkeys((asked, name))]
        for path in (mirrored(name), *places):
            if path is not None and path.is_file():
                return path
        if name in _CARRIED and (carried := _carried(name)).is_file():
            return carried
        raise MissingFile(unquote(url), "no download is tried")

    def link(self, url: str, dst: str, hash_prefix: str | None = None, *_: Any, **__: Any) -> None:
        """In the place of torch's download_url_to_file."""
        path, name = self.find(url), unquote(Path(dst).name)
        told = described(path, name)
        if hash_prefix and not told.sha256.startswith(hash_prefix):
            raise MissingFile(url, f"{path} is another file: its sha256 begins {told.sha256[:8]}")
        os.symlink(path.resolve(), dst)
        self.read.append(told)

    def clip(self, url: str, root: str) -> str:
        """In the place of the download of OpenAI's CLIP, whose address holds the sha256."""
        folder, name = Path(root), url.rpartition("/")[2]
        folder.mkdir(parents=True, exist_ok=True)
        self.link(url, str(folder / name), url.split("/")[-2])
        return str(folder / name)


def _carried(name: str) -> Path:
    """Where a package has the file; MissingFile where the package is absent."""
    try:
        return inside(*_CARRIED[name], name)
    except ModuleNotFoundError as error:
        raise MissingFile(name, str(error)) from error


def _fill(network: torch.nn.Module, url: str, *_: Any) -> None:
    """In the place of PyIQA's loading of ST-LPIPS, which leaves random what a file lacks."""
    from pyiqa.utils.download_util import load_file_from_url

    state = torch.load(load_file_from_url(url), map_location="cpu", weights_only=True)
    lacking = sorted({name for name, _ in network.named_parameters()} - set(state))
    if lacking:
        raise RuntimeError(f"{len(lacking)} of the network's weights are not in it: {lacking[0]}")
    # Not strictly: the network has its heads a second time, as a list.
    network.load_state_dict(state, strict=False)


def _headless(features: torch.nn.Module, **_: Any) -> SimpleNamespace:
    """In the place of ST-LPIPS's VGG, of which PyIQA keeps the features: 124 M weights less."""
    return SimpleNamespace(features=features)


def _untrained(create: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *names, **options: create(*names, **{**options, "pretrained": False})

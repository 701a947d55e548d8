"""Weights out of files of `torch.save`, without running anything that is in them.

Such a file is a pickle: a small program that builds objects, and that can call any function. Only
what builds tensors and plain containers is let through: `torch.load(weights_only=True)` does that,
and here is what it leaves open (sets, odd keys, depth), and errors that do not advise to run it.
"""

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (str, int, float, bool, type(None))
_DEEPEST = 8
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError,
           AttributeError, TypeError, AssertionError)  # fmt: skip


class UnsafeFile(ValueError):
    """A file that is no plain `torch.save` of weights; the message names it and says why."""


def load(path: Path | str) -> Any:
    """Tensors on the CPU, in dicts, lists and tuples, with text and numbers beside them.

    Raises FileNotFoundError, or UnsafeFile for a file that would run code, holds objects of other
    kinds, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    _refuse_pointers(path)
    try:
        with warnings.catch_warnings():  # of other pickle protocols, which are refused or read
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise UnsafeFile(f"{path}: {_reason(error)}") from error
    _check(found, path, "")
    return found


def _refuse_pointers(path: Path) -> None:
    with open(path, "rb") as handle:
        start = handle.read(24)
    if not start:
        raise UnsafeFile(f"{path}: is empty (0 bytes); get it again")
    if start.startswith(b"version https://git-lfs"):
        raise UnsafeFile(f"{path}: a Git LFS pointer and not the weights; run `git lfs pull`")


def _reason(error: Exception) -> str:
    """Torch's page of advice in one line, without the advice to let the file run."""
    said, reason = str(error), (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, pickle.UnpicklingError):
        if asked := re.search(r"GLOBAL (\S+)|Unsupported (?:class|global) (\S+)", said):
            return (
                f"it asks for {asked[1] or asked[2]}, which weights do not need and which could "
                "run any code; nothing of it was run. Get the file from its authors"
            )
        found = re.search(r"WeightsUnpickler error:\s*(.*)", said)
        reason = found[1] if found else "its pickle cannot be read"
    reason = reason.split(". ")[0].strip()
    return f"damaged, or not written by torch.save ({reason}); get it again"


def _check(value: Any, path: Path, where: str, depth: int = 0) -> None:
    """Refuses what is neither a tensor nor a plain container, as torch allows a little more."""
    if type(value) in (Tensor, nn.Parameter, *_PLAIN):
        return
    if depth == _DEEPEST:
        raise UnsafeFile(f"{path}: {where} is nested {depth} deep; weights are not")
    if not isinstance(value, dict | list | tuple):
        kind = type(value).__name__
        raise UnsafeFile(f"{path}: {where or 'it'} is a {kind}; allowed: tensors, dicts and lists")
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if type(key) not in (str, int):
            raise UnsafeFile(f"{path}: {where or 'it'} has the key {key!r}; allowed: text, numbers")
        _check(item, path, f"{where}.{key}" if where else str(key), depth + 1)

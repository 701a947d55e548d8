"""RRDBNet of basicsr, without the package around it, and its weights from released files.

Its file imports a registry and an arch_util that loads every operator of basicsr, some of which no
longer load. Stand-ins with the four names that it takes from them are there while it loads.
"""

import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import pixel_unshuffle

from omgsr.baselines import safe_pickle
from omgsr.core import basicsr_shim
from omgsr.models import weight_files

_UNSHUFFLED = {3: 4, 12: 2, 48: 1}  # channels of the first convolution => scale


class ArchitectureError(ValueError):
    """Weights of another network than RRDBNet; the message names the file."""


@cache
def network() -> Callable[..., nn.Module]:
    """The class RRDBNet; its weights are to be loaded, they are not initialised as in training."""
    util, registry = ModuleType("arch_util"), ModuleType("registry")
    vars(util).update(
        default_init_weights=lambda *_: None,
        make_layer=lambda block, count, **kw: nn.Sequential(*(block(**kw) for _ in range(count))),
        pixel_unshuffle=lambda x, scale: pixel_unshuffle(x, scale),
    )
    vars(registry).update(ARCH_REGISTRY=SimpleNamespace(register=lambda: lambda made: made))
    beside = f"{basicsr_shim.__name__}.archs.arch_util"
    with patch.dict(sys.modules, {"basicsr.utils.registry": registry, beside: util}):
        loaded: Any = basicsr_shim.module("archs.rrdbnet_arch")
    found: Callable[..., nn.Module] = loaded.RRDBNet
    return found


def read(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pth, under params_ema, params or as it is, or in a .safetensors.

    Raises FileNotFoundError for a missing file, ValueError for one that is not safe or not whole.
    """
    if path.suffix == ".safetensors":
        weight_files.check(path)
        return load_file(path)
    held = safe_pickle.load(path)
    if isinstance(held, Mapping):
        held = held.get("params_ema", held.get("params", held))
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise ArchitectureError(f"{path}: holds no weights under params_ema or params")
    return dict(held)


def build(state: Mapping[str, Tensor], path: Path) -> nn.Module:
    """RRDBNet of the sizes that the weights have, with them: 23 blocks of 64 in x4plus and x2plus.

    Raises ArchitectureError for weights of another network.
    """
    try:
        features, channels = state["conv_first.weight"].shape[:2]
        growth = state["body.0.rdb1.conv1.weight"].shape[0]
        scale = _UNSHUFFLED[channels]
    except (KeyError, IndexError, ValueError):
        raise _another(path, f"it holds {min(state, default='nothing')}") from None
    blocks = 1 + max(int(n[1]) for n in map(re.compile(r"body\.(\d+)\.").match, state) if n)
    made = network()(
        num_in_ch=3, num_out_ch=3, scale=scale, num_feat=features, num_block=blocks,
        num_grow_ch=growth,
    )  # fmt: skip
    try:
        made.load_state_dict(state)
    except RuntimeError as error:
        raise _another(path, str(error).splitlines()[-1].strip()) from error
    return made


def _another(path: Path, reason: str) -> ArchitectureError:
    return ArchitectureError(
        f"{path}: not an RRDBNet for colour images ({reason}); supported are RealESRGAN_x4plus, "
        "RealESRNet_x4plus, RealESRGAN_x4plus_anime_6B and RealESRGAN_x2plus"
    )

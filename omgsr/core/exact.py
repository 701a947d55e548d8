"""The same sums on x86-64 processors with AVX2: what the setting `exact` of a profile means.

Libraries choose kernels by the processor, and kernels add in different orders. Here all of them are
held to what every such processor has, before one of them is loaded (`begin`). One thing no switch
was found for: square roots of torch, which are MKL's and were not the same on an AMD processor and
on an emulated Intel one. `settle` has torch take IEEE 754's, correctly rounded, from NumPy.
On other architectures, such as Arm, nothing is held, as these switches are x86-64's.
"""

import os
import platform
import sys
import warnings
from collections.abc import Mapping, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

MARK = "OMGSR_EXACT"
ENVIRONMENT = {
    MARK: "1",
    "MKL_CBWR": "COMPATIBLE",  # the only branch that MKL takes on AMD's and Intel's alike
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENCV_IPP": "disabled",
    "OPENCV_LOG_LEVEL": "ERROR",  # OpenCV warns that it has no IPP
}
"""Variables that the libraries read when they are loaded, and the mark that says so to `settle`."""


def profile(root: Path) -> dict[str, Any]:
    """The profile that params.yaml below `root` names, unchecked.

    {} where a file cannot be read: whoever needs it checks it and says what is wrong.
    """
    try:
        name = _mapping(root / "params.yaml").get("profile")
        return _mapping(root / "configs" / f"{name}.yaml")
    except (OSError, UnicodeDecodeError, YAMLError):
        return {}


def _mapping(path: Path) -> dict[str, Any]:
    # Not by settings.read_yaml, which loads pydantic: every start of a stage would wait for it.
    value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def begin(settings: Mapping[str, Any], environment: MutableMapping[str, str] = os.environ) -> None:
    """Prepares `environment` for a profile that says `exact: true`.

    It must come before NumPy or torch are loaded; the processes that this one starts inherit it.
    """
    if settings.get("exact") is True and platform.machine() in ("x86_64", "AMD64"):
        environment.update(ENVIRONMENT)


def settle() -> None:
    """Gives torch, if it is loaded, the square roots of `exact` in a process prepared for it.

    Stages, worker processes and whoever picks a device call it before they compute.
    """
    if os.environ.get(MARK) == "1" and "torch" in sys.modules:
        _square_roots()


@cache
def _square_roots() -> object:
    """Puts IEEE's square root below autograd; it lasts as long as what is returned."""
    import numpy as np
    import torch
    from torch import Tensor

    def sqrt(x: Tensor) -> Tensor:
        numbers = x.is_floating_point() or x.is_complex()
        kind = x.dtype if numbers else torch.get_default_dtype()
        wide = torch.float32 if kind in (torch.bfloat16, torch.float16) else kind
        with np.errstate(all="ignore"):  # torch gives nan without a word, too
            root = np.sqrt(x.detach().resolve_conj().resolve_neg().to(wide).numpy())
        return torch.from_numpy(np.asarray(root)).to(kind)

    def sqrt_(x: Tensor) -> Tensor:
        return x.copy_(sqrt(x))

    def sqrt_out(x: Tensor, *, out: Tensor) -> Tensor:
        return out.resize_(x.shape).copy_(sqrt(x))

    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there was one before
        for name, function in (("sqrt", sqrt), ("sqrt_", sqrt_), ("sqrt.out", sqrt_out)):
            library.impl(name, function, "CPU")
    return library

"""The functions of basicsr that OMGSR uses, and all the mending that release 1.4.2 needs.

- `import basicsr` imports every network and data set of the package: single files are loaded here.
- Its degradations ask for `torchvision.transforms.functional_tensor`, which torchvision dropped in
  0.17: a stand-in with the one function they want is there while they load, and only then.
- They switch NumPy's division warnings off for the whole process: switched back on here.
"""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_MISSING = "torchvision.transforms.functional_tensor"


@cache
def module(name: str) -> ModuleType:
    """One file of basicsr, such as `data.degradations`, without the package around it."""
    package = importlib.util.find_spec("basicsr")
    if package is None or package.origin is None:
        raise ImportError(
            "basicsr is not installed; run `make install` or pip install basicsr==1.4.2"
        )
    file = Path(package.origin).parent.joinpath(*name.split(".")).with_suffix(".py")
    spec = importlib.util.spec_from_file_location(f"omgsr.core.basicsr_shim.{name}", file)
    if spec is None or spec.loader is None or not file.exists():
        raise ImportError(f"{file}: not in this basicsr; OMGSR is made for release 1.4.2")
    loaded = importlib.util.module_from_spec(spec)
    stand_in = ModuleType(_MISSING)
    stand_in.rgb_to_grayscale = _rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[_MISSING] = stand_in
    try:
        with np.errstate():
            spec.loader.exec_module(loaded)
    finally:
        del sys.modules[_MISSING]
    return loaded


def _rgb_to_grayscale(image: Any, num_output_channels: int = 1) -> Any:
    # Imported at the first call: torchvision takes seconds, and the kernels never ask for it.
    from torchvision.transforms.functional import rgb_to_grayscale

    return rgb_to_grayscale(image, num_output_channels)


degradations = module("data.degradations")

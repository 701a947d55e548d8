"""Photographs that this and other installed packages carry, for a first run without a download."""

import csv
from importlib.util import find_spec
from pathlib import Path

_FOLDERS = {
    "scikit-image": ("skimage", "data"),
    "scikit-learn": ("sklearn", "datasets/images"),
    "omgsr": ("omgsr", "assets/kodak"),
    "matplotlib": ("matplotlib", "mpl-data/sample_data"),
}
"""Distribution => (module, folder inside it)."""

# The second view of the motorcycle is left out: the same scene could be trained on and tested.
with open(Path(__file__).with_suffix(".csv"), encoding="utf-8", newline="") as _table:
    PHOTOGRAPHS = {row["name"]: row for row in csv.DictReader(_table)}
"""Name => its row of photographs.csv: the file inside the folder of a package, and the credit,
which is subject, author and terms, as far as the package states them."""


def locate(name: str) -> Path:
    """File of a named photograph; the package is found but not imported."""
    if name not in PHOTOGRAPHS:
        raise ValueError(f"unknown photograph {name!r}; allowed: {', '.join(PHOTOGRAPHS)}")
    package, file = PHOTOGRAPHS[name]["package"], PHOTOGRAPHS[name]["file"]
    module, folder = _FOLDERS[package]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"photograph {name!r} comes with {package}, which is not installed; "
            "install the pinned requirements (constraints.txt)"
        )
    path = Path(spec.origin).parent / folder / file
    if not path.is_file():
        raise FileNotFoundError(
            f"photograph {name!r}: {package} should hold {folder}/{file}; "
            "install the version that constraints.txt pins"
        )
    return path

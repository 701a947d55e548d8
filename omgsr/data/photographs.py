"""Photographs that installed packages carry, for a first run without any download."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SKIMAGE, SKLEARN, MATPLOTLIB = "scikit-image", "scikit-learn", "matplotlib"
# Distribution => (module, folder inside it)
_FOLDERS = {
    SKIMAGE: ("skimage", "data"),
    SKLEARN: ("sklearn", "datasets/images"),
    MATPLOTLIB: ("matplotlib", "mpl-data/sample_data"),
}


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """One picture file of an installed package."""

    file: str
    """Name inside the package's data folder."""
    package: str
    """Distribution that installs it."""
    credit: str
    """Subject, author and terms, as far as the package states them."""


def _skimage(file: str, credit: str) -> Photograph:
    return Photograph(file=file, package=SKIMAGE, credit=credit)


# The second view of the motorcycle is left out: the same scene could be trained on and tested.
PHOTOGRAPHS: dict[str, Photograph] = {
    "astronaut": _skimage("astronaut.png", "Eileen Collins; NASA, public domain"),
    "brick": _skimage("brick.png", "brick wall; CC0Textures Bricks25, CC0"),
    "camera": _skimage("camera.png", "cameraman; Lav Varshney, CC0"),
    "cell": _skimage("cell.png", "a cell floating in saline; CC0"),
    "chelsea": _skimage("chelsea.png", "a cat; Stefan van der Walt, CC0"),
    "clock_motion": _skimage("clock_motion.png", "Stefan van der Walt, public domain"),
    "coffee": _skimage("coffee.png", "Pikolo Espresso Bar; Rachel Michetti, CC0"),
    "coins": _skimage("coins.png", "Greek coins, Brooklyn Museum; no known restrictions"),
    "grass": _skimage("grass.png", "grass; CC0 (scikit-image documentation)"),
    "gravel": _skimage("gravel.png", "gravel; CC0Textures Gravel04, CC0"),
    "hubble_deep_field": _skimage("hubble_deep_field.jpg", "NASA, may be freely used"),
    "ihc": _skimage("ihc.png", "stained tissue; CMMI, no known restrictions"),
    "moon": _skimage("moon.png", "surface of the moon; terms not stated"),
    "motorcycle_left": _skimage("motorcycle_left.png", "Middlebury 2014 stereo benchmark"),
    "page": _skimage("page.png", "a scanned page; terms not stated"),
    "retina": _skimage("retina.jpg", "human retina; Mikael Häggström, CC0"),
    "rocket": _skimage("rocket.jpg", "launch of DSCOVR; SpaceX, public domain"),
    "text": _skimage("text.png", "a page of Wikipedia; no known restrictions"),
    "china": Photograph(
        file="china.jpg", package=SKLEARN, credit="danielbuechele on Flickr, CC BY 2.0"
    ),
    "flower": Photograph(
        file="flower.jpg", package=SKLEARN, credit="vultilion on Flickr, CC BY 2.0"
    ),
    "grace_hopper": Photograph(
        file="grace_hopper.jpg", package=MATPLOTLIB, credit="Grace Hopper; terms not stated"
    ),
}


def locate(name: str) -> Path:
    """File of a named photograph; the package is found but not imported."""
    if name not in PHOTOGRAPHS:
        raise ValueError(f"unknown photograph {name!r}; allowed: {', '.join(PHOTOGRAPHS)}")
    photograph = PHOTOGRAPHS[name]
    module, folder = _FOLDERS[photograph.package]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"photograph {name!r} comes with {photograph.package}, which is not installed; "
            "install the pinned requirements (constraints.txt)"
        )
    path = Path(spec.origin).parent / folder / photograph.file
    if not path.is_file():
        raise FileNotFoundError(
            f"photograph {name!r}: {photograph.package} should hold {folder}/{photograph.file}; "
            "install the version that constraints.txt pins"
        )
    return path

"""Photographs that installed packages carry, for a first run without any download."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_FOLDERS = {
    "scikit-image": ("skimage", "data"),
    "scikit-learn": ("sklearn", "datasets/images"),
    "matplotlib": ("matplotlib", "mpl-data/sample_data"),
}
"""Distribution => (module, folder inside it)."""


@dataclass(frozen=True)
class Photograph:
    """One picture file of an installed package."""

    file: str
    """Name inside the package's data folder."""
    credit: str
    """Subject, author and terms, as far as the package states them."""
    package: str = "scikit-image"
    """Distribution that installs it."""


# The second view of the motorcycle is left out: the same scene could be trained on and tested.
PHOTOGRAPHS: dict[str, Photograph] = {
    "astronaut": Photograph("astronaut.png", "Eileen Collins; NASA, public domain"),
    "brick": Photograph("brick.png", "brick wall; CC0Textures Bricks25, CC0"),
    "camera": Photograph("camera.png", "cameraman; Lav Varshney, CC0"),
    "cell": Photograph("cell.png", "a cell floating in saline; CC0"),
    "chelsea": Photograph("chelsea.png", "a cat; Stefan van der Walt, CC0"),
    "clock_motion": Photograph("clock_motion.png", "Stefan van der Walt, public domain"),
    "coffee": Photograph("coffee.png", "Pikolo Espresso Bar; Rachel Michetti, CC0"),
    "coins": Photograph("coins.png", "Greek coins, Brooklyn Museum; no known restrictions"),
    "grass": Photograph("grass.png", "grass; CC0 (scikit-image documentation)"),
    "gravel": Photograph("gravel.png", "gravel; CC0Textures Gravel04, CC0"),
    "hubble_deep_field": Photograph("hubble_deep_field.jpg", "NASA, may be freely used"),
    "ihc": Photograph("ihc.png", "stained tissue; CMMI, no known restrictions"),
    "moon": Photograph("moon.png", "surface of the moon; terms not stated"),
    "motorcycle_left": Photograph("motorcycle_left.png", "Middlebury 2014 stereo benchmark"),
    "page": Photograph("page.png", "a scanned page; terms not stated"),
    "retina": Photograph("retina.jpg", "human retina; Mikael Häggström, CC0"),
    "rocket": Photograph("rocket.jpg", "launch of DSCOVR; SpaceX, public domain"),
    "text": Photograph("text.png", "a page of Wikipedia; no known restrictions"),
    "china": Photograph("china.jpg", "danielbuechele on Flickr, CC BY 2.0", "scikit-learn"),
    "flower": Photograph("flower.jpg", "vultilion on Flickr, CC BY 2.0", "scikit-learn"),
    "grace_hopper": Photograph("grace_hopper.jpg", "Grace Hopper; terms not stated", "matplotlib"),
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

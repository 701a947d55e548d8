"""The trained run that the package carries, so that a picture can be restored without any training.

assets/small/model/        adapters and run card, as every run has them
assets/small/README.md     what it was trained on, for how long, and what it is not
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omgsr.method import run_card
from omgsr.models import foundation, small_networks
from omgsr.models.settings import Features, Foundation

HOME = small_networks.ASSETS / "small"
WORDS = (
    "the small run that comes with OMGSR (--model names another): {steps} steps on a foundation of "
    "5 million weights that knows thirteen photographs. It shows the method; it is not the paper's "
    "model, and Real-ESRGAN is far better"
)


def about() -> str:
    """One sentence for who restores with it: what it is and what it is not."""
    return WORDS.format(steps=run_card.read_card(HOME / "model").steps)


@contextmanager
def run() -> Iterator[tuple[Path, Path]]:
    """The run folder and, while the context lasts, a foundation folder that it fits."""
    model = HOME / "model"
    made = run_card.read_card(model).foundation
    settings = Foundation(
        backbone=made["backbone"], source="shipped", path=None, revision=None, prompt="",
        timestep_origin=made["timestep_origin"], training=None, resolution=made.get("resolution"),
        features=Features(name=made["features"]["name"], path=None),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="omgsr-") as folder:
        foundation.ship(Path(folder), settings)
        yield model, Path(folder)

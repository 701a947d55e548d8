"""The feature network of a foundation: one that the package carries, or weights from elsewhere."""

import shutil
from pathlib import Path

from omgsr.models import feature_scale, feature_weights
from omgsr.models.settings import SHIPPED, Features


def shipped(name: str) -> Path:
    """The package's folder of a network that it carries."""
    return Path(__file__).parents[1] / "assets" / SHIPPED[name]


def ship(settings: Features, folder: Path) -> None:
    """Puts the network of a small model into `folder`: of `path`, or the package's."""
    if settings.path is None:
        shutil.copytree(shipped(settings.name), folder, dirs_exist_ok=True)
        finish(settings, folder)
    else:
        fetch(settings, folder)


def fetch(settings: Features, folder: Path) -> None:
    """Puts weights of `path` or of timm's hub into `folder`."""
    feature_weights.fetch(settings.name, settings.path, folder)
    finish(settings, folder)


def finish(settings: Features, folder: Path) -> None:
    """Measures the levels where heads are to see them at one scale."""
    if settings.scale == "unit":
        feature_scale.write(folder)

"""Foundation folders of the miniatures in flow_hub.py, as `source: folder` makes them."""

from __future__ import annotations

from pathlib import Path

from omgsr.models import foundation
from omgsr.models.settings import Features
from tests.helpers import flow_hub, hub, models


def write(root: Path, kind: str) -> tuple[Path, Path]:
    """(model folder, foundation folder) of `kind` below `root`."""
    model = flow_hub.write_hub_folder(root / "hub" / kind, kind)
    network = hub.write_convnext(root / "atto") if not (root / "atto").exists() else root / "atto"
    plan = models.section(
        backbone=kind, source="folder", path=str(model), resolution=flow_hub.RESOLUTION[kind],
        features=Features(name="convnext_atto", path=str(network)),
    )  # fmt: skip
    foundation.link(root / kind, model, plan, root / "prompts")
    return model, root / kind

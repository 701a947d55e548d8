"""Folder-backed profiles by real DVC: miniatures of the hub's models, a family each.

python -m pytest -m slow tests/stages/test_hub_pipeline.py
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from omgsr.core import images
from tests.helpers import flow_hub, hub
from tests.stages.test_pipeline import Project, small

pytestmark = pytest.mark.slow


def write_images(folder: Path, names: list[str], side: int) -> Path:
    """Pictures with edges and texture, in the sub-folders and endings that data sets have."""
    for number, name in enumerate(names):
        rng = np.random.default_rng([side, number])
        coarse = rng.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        images.write_png(folder / name, images.upscale(coarse, 8))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LSDIR's layout, FFHQ by a list, a paired and an LQ-only benchmark, a ConvNeXt of timm's."""
    folder = tmp_path_factory.mktemp("sets")
    write_images(folder / "lsdir", [f"000{i}000/000{i}.png" for i in range(4)], 128)
    write_images(folder / "ffhq", [f"00000/0000{i}.png" for i in range(3)], 192)
    (folder / "ffhq.txt").write_text("".join(f"ffhq/00000/0000{i}.png\n" for i in range(3)))
    write_images(folder / "hr", ["a.png", "b.png"], 128)
    write_images(folder / "lr", ["a.png", "b.png"], 32)
    write_images(folder / "lq", ["c.png", "d.png"], 40)
    hub.write_convnext(folder / "convnext")
    return folder


def profile(project: Project, data: Path, model: Path, kind: str) -> dict[str, Any]:
    """configs/paper.yaml with these folders, and the numbers of a run of seconds."""
    yaml = YAML()
    values = yaml.load(project.folder / "configs/paper.yaml")
    lsdir, ffhq = values["data"]["train"]["folders"]
    lsdir.update(path=str(data / "lsdir"), expected=4)
    ffhq.update(path=str(data / "ffhq.txt"), first=2, expected=2, resize=128)
    values["data"]["crop"] = 128
    sets = values["benchmarks"]
    for name in ("drealsr", "reallr200"):
        del sets[name]
    sets["realsr"]["hq"]["folders"] = [str(data / "hr")]
    sets["realsr"]["lq"]["folders"] = [str(data / "lr")]
    sets["reallq250"]["lq"]["folders"] = [str(data / "lq")]
    values["foundation"].update(
        backbone=kind,
        path=str(model),
        features={"name": "convnext_atto", "path": str(data / "convnext")},
        timestep_origin=0,
        resolution=flow_hub.RESOLUTION.get(kind),
    )
    values["train"].update(
        steps=8, accumulate=2, checkpoint_every=2, log_every=1, preview_every=4, num_workers=0,
        gradient_checkpointing=True, optimiser="adamw8bit", ema=0.9, gradient_norms_every=2,
        validation={"images": 1, "pairs": 1, "every": 2, "metrics": ["psnr"]}, final="psnr",
    )  # fmt: skip
    values["infer"] = {"batch": 1, "color": "adain"}  # else minutes on a CPU
    values["score"] |= {"metrics": ["psnr", "niqe"], "composite": None}
    yaml.dump(values, project.folder / "configs/small.yaml")
    params = yaml.load(project.folder / "params.yaml")
    params["profile"] = "small"
    yaml.dump(params, project.folder / "params.yaml")
    return dict(values)


def write_model(folder: Path, kind: str) -> Path:
    """The miniature of any family."""
    write = hub.write_hub_folder if kind in hub.KINDS else flow_hub.write_hub_folder
    return write(folder, kind)


@pytest.mark.parametrize("kind", [*hub.KINDS, *flow_hub.KINDS])
def test_a_model_in_the_hubs_layout_is_trained_inferred_and_reloaded(
    kind: str, checkout: Path, data: Path, tmp_path: Path
) -> None:
    project = small(checkout, tmp_path / "omgsr")
    model = write_model(tmp_path / "model", kind)
    profile(project, data, model, kind)
    project.dvc("repro")

    run = project.folder / "runs/full-auto-0"
    card = json.loads((run / "model/omgsr.json").read_text())
    assert card["foundation"]["backbone"] == kind
    assert (card["final"], card["ema"]) == ("psnr", 0.9)
    found = json.loads((project.folder / "reports/timestep.json").read_text())
    assert card["t"] == found["t"]
    assert found["images"] == 6
    with (run / "train/history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["step"] for row in history] == [str(step) for step in range(1, 9)]
    assert [bool(row["val/psnr"]) for row in history] == [False, True] * 4
    assert float(history[1]["grad/lrr"]) > 0
    sizes = {p.name: images.read_rgb(p).shape for p in (run / "sr").rglob("*.png")}
    sides = {"a": 128, "b": 128, "c": 160, "d": 160}
    assert sizes == {f"{name}.png": (side, side, 3) for name, side in sides.items()}

    again = ("--foundation", "foundation", "-o", "again", "--color", "adain")
    project.omgsr("upscale", str(data / "lr"), "--model", "runs/full-auto-0/model", *again)
    for name in ("a.png", "b.png"):
        kept = images.read_rgb(run / "sr/realsr" / name)
        np.testing.assert_array_equal(images.read_rgb(project.folder / "again" / name), kept)

    wanted = project.adapters()
    assert "| 0/8 [" not in project.train_killed(), "it started again instead of continuing"
    assert project.adapters() == wanted


def test_a_checkpoint_of_another_kind_is_refused(
    checkout: Path, data: Path, tmp_path: Path
) -> None:
    """SD2.1-768 predicts v: as sd21-base it would train without an error and restore badly."""
    project = small(checkout, tmp_path / "omgsr")
    profile(project, data, hub.write_hub_folder(tmp_path / "model", "sd21-768"), "sd21-base")
    said = project.dvc("repro", "foundation", check=False)
    assert "exit 0" not in said
    assert "v_prediction" in said
    assert "sd21-768" in said

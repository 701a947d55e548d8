"""OSEDiff and PiSA-SR as methods of the registry and of the stage `baseline`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from ruamel.yaml import YAML

from omgsr.baselines import conversion, one_step, registry
from omgsr.core import files, images
from omgsr.core.fingerprint import sha256
from omgsr.data import manifest
from tests.baselines.test_one_step_models import Made, restored
from tests.stages.test_baseline import PICTURES, Workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("published"))


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["osediff", "pisasr"])
def test_the_method_is_its_generator_on_the_bicubic_image(made: Made, kind: str) -> None:
    options: dict[str, Any] = {"lambda_pix": 0.7} if kind == "pisasr" else {}
    file = getattr(made, kind).file
    method = registry.load(
        kind, path=file, foundation=made.foundation, device="cpu", color="none", **options
    )
    lq = picture(16, 32)
    found = method([lq, lq[::-1].copy()], (64, 128))
    assert [(f.shape, f.dtype) for f in found] == [((64, 128, 3), np.dtype(np.float32))] * 2
    x_lq = images.to_tensor(images.upscale(lq, 4))[None]
    x_sr = restored(one_step.generator(kind, file, made.foundation, **options), x_lq)[0]
    wanted = (x_sr.permute(1, 2, 0).numpy() + 1) / 2
    np.testing.assert_allclose(found[0], wanted.clip(0, 1), atol=1e-3)
    colours = registry.load(kind, path=file, foundation=made.foundation, device="cpu", **options)
    assert np.abs(colours([lq], (64, 128))[0] - found[0]).max() > 0.01, "adain is the default"


def test_notes_say_where_it_departs_from_its_own_program(made: Made) -> None:
    def notes(kind: str, **options: Any) -> str:
        file = getattr(made, kind).file
        given = {"path": file, "foundation": made.foundation, "device": "cpu"}
        return "\n".join(registry.load(kind, **given, **options).notes)  # type: ignore[attr-defined]

    assert "the prompt '' for every image; its own program takes the tags" in notes("osediff")
    assert "the prompt 'sharp'" in notes("osediff", prompt="sharp")
    assert "latents are modes" in notes("pisasr")
    assert "prompt" not in notes("pisasr")
    sharp = notes("pisasr", prompt="sharp")
    assert "the prompt 'sharp'; its own program uses an empty one" in sharp
    assert "latents" not in notes("pisasr", latent="sample")


def test_the_stage_restores_with_a_converted_folder(
    made: Made, tmp_path: Path, checkout: Path
) -> None:
    workspace = Workspace(tmp_path, checkout)
    shutil.copytree(made.foundation, tmp_path / "foundation")
    yaml, path = YAML(), tmp_path / "configs/mini.yaml"
    scale = yaml.load(path)
    scale["foundation"].update(backbone="sd")
    yaml.dump(scale, path)
    conversion.convert(made.pisasr.file, tmp_path / "weights/pisasr")
    options = {"lambda_pix": 1.0, "lambda_sem": 0.5, "color": "wavelet"}
    workspace.define(theirs={"kind": "pisasr", "path": "weights/pisasr", "options": options})
    run = workspace.run("theirs")
    for name in PICTURES:
        row = manifest.Row(name="x", lq=str(tmp_path / "data" / name.replace("/", "/lq/")))
        assert images.read_rgb(run / "sr" / name).shape == tuple(
            np.array(manifest.load_lq(row).shape) * (4, 4, 1)
        )
    card = files.read_json(run / "method.json")
    assert card["sha256"] == sha256(tmp_path / "weights/pisasr")
    assert card["foundation"] == files.read_json(made.foundation / "foundation.json")["sha256"]
    assert card["options"] == options
    assert [note.partition(";")[0] for note in card["notes"]] == ["pisasr: latents are modes"]

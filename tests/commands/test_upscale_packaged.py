"""`omgsr upscale` without a model: the package's own run, and what it says of itself."""

import json
from pathlib import Path

import pytest

from omgsr.cli import main
from omgsr.core import files, images
from omgsr.data import photographs
from omgsr.inference import packaged
from omgsr.inference.pictures import journal


def test_a_picture_is_restored_by_the_packages_own_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = images.read_rgb(photographs.locate("chelsea"))[100:116, 100:124]
    images.write_png(tmp_path / "cat.png", picture)
    assert main(["upscale", str(tmp_path / "cat.png"), "-o", str(tmp_path / "out")]) == 0
    assert images.read_rgb(tmp_path / "out/cat.png").shape == (64, 96, 3)
    said = capsys.readouterr().out
    assert "model: the small run that comes with OMGSR" in said
    assert "not the paper's model" in said
    told = files.read_json(tmp_path / "out" / journal.NAME)
    card = files.read_json(packaged.HOME / "model/omgsr.json")
    assert told["model"]["adapters"] == card["adapters"]
    assert told["settings"]["model"] is None
    assert "omgsr-" not in json.dumps(told["settings"]), "no folder that is gone"


def test_it_is_small_and_has_what_a_run_has() -> None:
    found = [path for path in packaged.HOME.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in found) <= 6 * 2**20
    assert {path.suffix for path in found} <= {".json", ".md", ".safetensors", ".csv"}


def test_another_method_still_needs_its_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["upscale", "photo.jpg", "-o", str(tmp_path), "--method", "realesrgan"]
    assert main(given) == 1
    assert "--method realesrgan needs --model" in capsys.readouterr().err

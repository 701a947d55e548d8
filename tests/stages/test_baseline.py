"""Stage `baseline` in a small workspace of real files, as DVC runs it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from omgsr.baselines.foreign_outputs import OutputsError
from omgsr.baselines.realesrgan import RealESRGAN
from omgsr.core import files, images
from omgsr.core.image_files import ImageError
from omgsr.data import manifest
from stages import baseline
from tests.baselines.test_realesrgan import network, released
from tests.helpers import models

SETS = {"mini_standard": (24, 24, 16), "mini_light": (20,)}
"""Sides of the LQ images of each benchmark."""


class Workspace:
    """Settings and pairs of two benchmarks; methods are set by `define`."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.folder = folder
        shutil.copytree(checkout / "configs", folder / "configs")
        yaml, path = YAML(), folder / "configs/mini.yaml"
        scale = yaml.load(path)
        scale["benchmarks"] = {name: scale["benchmarks"][name] for name in SETS}
        yaml.dump(scale, path)
        shutil.copy(checkout / "params.yaml", folder)
        for name in ("omgsr", "stages"):
            (folder / name).symlink_to(checkout / name)
        for name, sides in SETS.items():
            sizes = tuple(side * 4 for side in sides)
            rows = models.write_pairs(folder / "data" / name, len(sides), sizes=sizes)
            manifest.write(folder / f"data/pairs/{name}.csv", rows)

    def define(self, **methods: dict[str, Any]) -> None:
        yaml, path = YAML(), self.folder / "params.yaml"
        params = yaml.load(path)
        params["methods"], params["sweep"]["methods"] = methods, list(methods)
        yaml.dump(params, path)

    def run(self, name: str) -> Path:
        with chdir(self.folder):
            baseline.main(name)
        return self.folder / "runs" / name

    def rows(self, benchmark: str) -> list[manifest.Row]:
        return manifest.read(self.folder / f"data/pairs/{benchmark}.csv")

    def outputs(self, folder: Path) -> Path:
        """What another program would have written, beside a log."""
        for benchmark in SETS:
            for row in self.rows(benchmark):
                picture = 255 - images.upscale(manifest.load_lq(row), 4)
                images.write_png(folder / benchmark / f"{row.name}.png", picture)
            (folder / benchmark / "log.txt").write_text("done")
        return folder


@pytest.fixture
def workspace(tmp_path: Path, checkout: Path) -> Workspace:
    return Workspace(tmp_path, checkout)


def names(run: Path) -> list[str]:
    return sorted(p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file())


PICTURES = [f"{name}/image{i}.png" for name in sorted(SETS) for i in range(len(SETS[name]))]
WANTED = ["method.json", *(f"sr/{picture}" for picture in PICTURES)]


def test_bicubic_is_the_pipelines_to_the_byte(workspace: Workspace) -> None:
    workspace.define(bicubic={"kind": "bicubic"})
    (workspace.folder / "runs/bicubic/sr/old").mkdir(parents=True)
    run = workspace.run("bicubic")
    assert names(run) == WANTED
    for benchmark in SETS:
        for row in workspace.rows(benchmark):
            images.write_png(run / "x.png", images.upscale(manifest.load_lq(row), 4))
            made = (run / "sr" / benchmark / f"{row.name}.png").read_bytes()
            assert made == (run / "x.png").read_bytes()
    assert not (run / "sr/old").exists()
    assert files.read_json(run / "method.json") == {"kind": "bicubic", "options": {}, "notes": []}


def test_real_esrgan_by_path_with_its_hash(workspace: Workspace) -> None:
    model = network()
    weights = released(workspace.folder, model)
    options = {"dtype": "fp32"}
    workspace.define(esrgan={"kind": "realesrgan", "path": str(weights), "options": options})
    run = workspace.run("esrgan")
    assert names(run) == WANTED
    row = workspace.rows("mini_standard")[2]
    wanted = RealESRGAN(model)([manifest.load_lq(row)], (64, 64))[0]
    found = images.read_rgb(run / "sr/mini_standard/image2.png")
    np.testing.assert_array_equal(found, np.rint(wanted * 255).astype(np.uint8))
    card = files.read_json(run / "method.json")
    assert card["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (card["kind"], card["licence"]) == ("realesrgan", "BSD-3-Clause")
    assert card["options"] == options


def test_someone_elses_outputs_are_taken_as_they_are(workspace: Workspace) -> None:
    folder = workspace.outputs(workspace.folder / "theirs")
    workspace.define(theirs={"kind": "folder", "path": "theirs"})
    run = workspace.run("theirs")
    assert names(run) == WANTED
    for picture in PICTURES:
        assert (run / "sr" / picture).read_bytes() == (folder / picture).read_bytes()
    first = files.read_json(run / "method.json")["sha256"]
    changed = folder / "mini_light/image0.png"
    images.write_png(changed, images.read_rgb(changed) // 2)
    workspace.run("theirs")
    assert files.read_json(run / "method.json")["sha256"] != first


def test_outputs_of_some_benchmarks_and_from_the_workspace_of_an_experiment(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("root")
    outputs = workspace.outputs(root / "theirs")
    shutil.rmtree(outputs / "mini_light")
    workspace.define(theirs={"kind": "folder", "path": "theirs", "benchmarks": ["mini_standard"]})
    monkeypatch.setenv("DVC_ROOT", str(root))
    run = workspace.run("theirs")
    assert names(run) == [name for name in WANTED if "mini_light" not in name]
    workspace.define(theirs={"kind": "folder", "path": "theirs"})
    with pytest.raises(OutputsError, match="mini_light: no such folder; name it as the benchmark"):
        workspace.run("theirs")


def test_outputs_that_do_not_fit_are_refused(workspace: Workspace) -> None:
    folder = workspace.outputs(workspace.folder / "theirs") / "mini_standard"
    workspace.define(theirs={"kind": "folder", "path": "theirs"})
    one = folder / "image1.png"
    whole = one.read_bytes()

    one.unlink()
    with pytest.raises(OutputsError, match=r"mini_standard: lacks 1 of 3, such as image1\.png"):
        workspace.run("theirs")
    one.write_bytes(whole)
    (folder / "image1_x4.png").write_bytes(whole)
    with pytest.raises(OutputsError, match=r"does not list: 1 of 3, such as image1_x4\.png"):
        workspace.run("theirs")
    (folder / "image1_x4.png").unlink()
    images.write_png(one, np.zeros((95, 96, 3), np.uint8))
    with pytest.raises(OutputsError, match=r"image1\.png: is 95 x 96 .* 4 times .* 96 x 96"):
        workspace.run("theirs")
    one.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match=r"image1\.png: is damaged"):
        workspace.run("theirs")
    one.write_bytes(whole)
    folder.rename(folder.parent / "standard")
    with pytest.raises(OutputsError, match=r"no such folder.*theirs holds mini_light, standard"):
        workspace.run("theirs")
    assert not list(workspace.folder.glob("runs/theirs/sr/mini_standard/*"))


def test_mistakes_end_the_stage_in_one_line(workspace: Workspace) -> None:
    workspace.define(bicubic={"kind": "bicubic"}, esrgan={"kind": "realesrgan", "path": "none.pth"})
    cases = {
        "lanczos": "'lanczos' is no method of sweep.methods: bicubic, esrgan",
        "full-auto": "'full-auto' is no method of sweep.methods: bicubic, esrgan",
        "esrgan": "none.pth: not there; realesrgan needs `path`",
    }
    for name, message in cases.items():
        done = subprocess.run(
            [sys.executable, "-m", "stages.baseline", name], cwd=workspace.folder, text=True,
            capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith(f"baseline: {message}"), done.stderr
        assert done.stderr.count("\n") == 1

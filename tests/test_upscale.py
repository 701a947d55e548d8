"""`omgsr upscale`, as a user calls it: what is restored, skipped, refused and said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from omgsr import color, device, images, inference, runs
from omgsr.cli import main
from omgsr.commands import upscale
from tests import models
from tests.test_runs import fields
from tests.test_travel import release

Run = Callable[..., int]


def picture(path: Path, height: int = 6, width: int = 9, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    images.write_png(path, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    runs.save(models.generator(tiny, 321, trained=0.1), folder, fields(tiny, scale=2))
    return folder


@pytest.fixture
def command(tiny: Path, model: Path, tmp_path: Path) -> Run:
    """Restores into tmp_path/out; returns the exit code."""

    def run(*given: Any, model: Path = model, out: Path = tmp_path / "out") -> int:
        places = ["--model", model, "--foundation", tiny, "-o", out, "--device", "cpu"]
        return main(["upscale", *map(str, [*given, *places])])

    return run


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_files_and_folders_are_restored_as_the_stage_restores_them(
    command: Run, tiny: Path, model: Path, tmp_path: Path
) -> None:
    one = picture(tmp_path / "one.two.png")
    inside = picture(tmp_path / "in" / "deep" / "three.png", 5, 4, seed=1)
    assert command(one, tmp_path / "in") == 0
    assert names(tmp_path / "out") == ["one.two.png", "three.png"]
    generator = inference.merge(runs.load(model, tiny)[0])
    for path in (one, inside):
        expected = inference.restore(generator, images.read_rgb(path), 2)  # the card's scale
        np.testing.assert_array_equal(images.read_rgb(tmp_path / "out" / path.name), expected)


def test_scale_and_colour_are_taken(command: Run, tmp_path: Path) -> None:
    one = picture(tmp_path / "one.png")
    for how in get_args(color.Alignment):
        assert command(one, "--scale", 3, "--color", how, out=tmp_path / how) == 0
    made = [images.read_rgb(tmp_path / how / "one.png") for how in get_args(color.Alignment)]
    assert {image.shape for image in made} == {(18, 27, 3)}
    assert not np.array_equal(made[0], made[1])


def test_released_adapters_need_their_timestep(
    command: Run, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    released = release(tiny, tmp_path / "released")
    one = picture(tmp_path / "one.png")
    assert command(one, model=released) == 1
    assert "no run card" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert command(one, "--timestep", 273, model=released) == 0
    assert images.read_rgb(tmp_path / "out" / "one.png").shape == (24, 36, 3)


def test_a_second_call_restores_what_is_missing_alone(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "in" / "out"  # inside the input, as users do
    for i in range(3):
        picture(folder / f"{i}.png", seed=i)
    assert command(folder, out=out) == 0
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "1.png").unlink()
    assert command(folder, out=out) == 0
    assert "3 images, 2 of them" in capsys.readouterr().out
    assert names(out) == ["0.png", "1.png", "2.png"]
    assert [p.stat().st_mtime_ns == times[p] for p in sorted(out.iterdir())] == [True, False, True]


def test_nothing_is_loaded_where_nothing_is_left(command: Run, tmp_path: Path) -> None:
    one = picture(tmp_path / "one.png")
    picture(tmp_path / "out" / "one.png")
    assert command(one, model=tmp_path / "no such model") == 0


@pytest.mark.parametrize("second", ["b/one.png", "one.jpg", "b/ONE.png"])
def test_two_inputs_of_one_name_are_refused_before_any_work(
    command: Run, tmp_path: Path, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = picture(tmp_path / "in" / "one.png")
    other = tmp_path / "in" / second
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(first.read_bytes())
    assert command(tmp_path / "in") == 1
    said = capsys.readouterr().err
    assert str(first) in said
    assert str(other) in said
    assert "rename one of them" in said
    assert not (tmp_path / "out").exists()


def test_an_image_given_twice_is_restored_once(command: Run, tmp_path: Path) -> None:
    one = picture(tmp_path / "in" / "one.png")
    assert command(one, tmp_path / "in", tmp_path / "in" / ".." / "in" / "one.png") == 0
    assert names(tmp_path / "out") == ["one.png"]


def test_an_input_is_never_its_own_output(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = picture(tmp_path / "one.png")
    before = one.read_bytes()
    assert command(one, out=tmp_path) == 1
    assert "another folder" in capsys.readouterr().err
    assert one.read_bytes() == before


def test_a_damaged_image_does_not_stop_the_others(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.png").write_bytes(b"not an image")
    assert command(tmp_path / "in") == 1
    assert names(tmp_path / "out") == ["b.png"]
    assert "a.png: is damaged" in capsys.readouterr().err


def test_an_image_too_large_does_not_stop_the_others(
    command: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    picture(tmp_path / "in" / "a.png", 20)
    picture(tmp_path / "in" / "b.png")
    restore = inference.restore

    def full(generator: Any, image: np.ndarray, *rest: Any) -> np.ndarray:
        if len(image) == 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return restore(generator, image, *rest)

    monkeypatch.setattr(inference, "restore", full)
    assert command(tmp_path / "in") == 1
    assert names(tmp_path / "out") == ["b.png"]
    assert "a.png: too large for the memory of cpu at scale 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "nowhere: no such image or folder"),
        (["."], "holds no image"),
    ],
)
def test_a_mistake_is_one_line(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert command(*given) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_choices_are_those_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["upscale", "--help"])
    said = capsys.readouterr().out
    for choices in (get_args(color.Alignment), device.NAMES):
        assert "{" + ",".join(choices) + "}" in said
    assert "omgsr upscale photo.jpg -o restored --model omgsr-s-512" in said
    assert "counted from" in said


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from omgsr.commands import upscale; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_outputs_keep_the_whole_name_but_the_suffix(tmp_path: Path) -> None:
    """The official code cuts at the first dot: a.b.png and a.c.jpg were one a.png."""
    given = [Path("a.b.png"), Path("a.c.jpg"), Path("a.png")]
    assert [p.name for p in upscale.outputs(given, tmp_path).values()] == [
        "a.b.png", "a.c.png", "a.png",
    ]  # fmt: skip

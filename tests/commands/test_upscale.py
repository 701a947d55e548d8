"""`omgsr upscale`, as a user calls it: what is restored, skipped, refused and said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from PIL import Image

from omgsr.baselines import registry
from omgsr.cli import main
from omgsr.core import devices, images
from omgsr.inference import benchmarks, color
from omgsr.inference.pictures import journal
from omgsr.inference.restore import OneStep
from omgsr.method import run_card
from tests.helpers import models
from tests.helpers.restoring import restore
from tests.method.test_adapter_travel import release
from tests.method.test_run_card import fields

Run = Callable[..., int]


def picture(path: Path, height: int = 6, width: int = 9, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    images.write_png(path, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return path


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    run_card.save(models.generator(tiny, 321, trained=0.1), folder, fields(tiny, scale=2))
    return folder


@pytest.fixture
def command(tiny: Path, model: Path, tmp_path: Path) -> Run:
    """Restores into tmp_path/out; returns the exit code."""

    def run(*given: Any, model: Path = model, out: Path = tmp_path / "out") -> int:
        places = ["--model", model, "--foundation", tiny, "-o", out, "--device", "cpu"]
        return main(["upscale", *map(str, [*given, *places])])

    return run


def names(folder: Path) -> list[str]:
    """Results below a folder, without the record."""
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    return [name for name in found if name != journal.NAME]


def test_files_and_folders_are_restored_as_the_stage_restores_them(
    command: Run, tiny: Path, model: Path, tmp_path: Path
) -> None:
    one = picture(tmp_path / "one.two.png")
    inside = picture(tmp_path / "in" / "deep" / "three.png", 5, 4, seed=1)
    assert command(one, tmp_path / "in") == 0
    assert names(tmp_path / "out") == ["deep/three.png", "one.two.png"]
    generator = benchmarks.merge(run_card.load(model, tiny)[0])
    for path, name in ((one, one.name), (inside, "deep/three.png")):
        expected = restore(generator, images.read_rgb(path), 2)  # the card's scale
        np.testing.assert_array_equal(images.read_rgb(tmp_path / "out" / name), expected)


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
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.png")}
    (out / "1.png").unlink()
    assert command(folder, out=out) == 0
    assert "3 images, 2 of them" in capsys.readouterr().out
    assert names(out) == ["0.png", "1.png", "2.png"]
    kept = [p.stat().st_mtime_ns == times[p] for p in sorted(out.glob("*.png"))]
    assert kept == [True, False, True]
    record = json.loads((out / journal.NAME).read_text())
    assert sorted(record["images"]) == names(out)  # those of both calls
    assert command(folder, "--overwrite", out=out) == 0
    assert not any(p.stat().st_mtime_ns == times[p] for p in out.glob("*.png"))


def test_nothing_is_loaded_where_nothing_is_left(command: Run, tmp_path: Path) -> None:
    one = picture(tmp_path / "one.png")
    picture(tmp_path / "out" / "one.png")
    assert command(one, model=tmp_path / "no such model") == 0


def test_two_inputs_of_one_name_both_have_a_result(command: Run, tmp_path: Path) -> None:
    picture(tmp_path / "in" / "one.png")
    (tmp_path / "in" / "one.jpg").write_bytes((tmp_path / "in" / "one.png").read_bytes())
    assert command(tmp_path / "in") == 0
    assert names(tmp_path / "out") == ["one_jpg.png", "one_png.png"]


def test_two_files_of_one_name_from_two_folders_are_refused_before_any_work(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = picture(tmp_path / "a" / "one.png"), picture(tmp_path / "b" / "one.png")
    assert command(first, second) == 1
    said = capsys.readouterr().err
    assert str(first) in said
    assert str(second) in said
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
    assert "one.png" in capsys.readouterr().err
    assert one.read_bytes() == before


def test_a_damaged_image_does_not_stop_the_others(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "a.png").write_bytes(b"not an image")
    assert command(tmp_path / "in") == 1
    assert names(tmp_path / "out") == ["b.png"]
    assert "a.png: is damaged" in capsys.readouterr().err


def test_an_image_that_fails_does_not_stop_its_batch(
    command: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for i, name in enumerate("abc"):
        picture(tmp_path / "in" / f"{name}.png", seed=i)
    bad = images.read_rgb(tmp_path / "in" / "b.png")
    call = OneStep.__call__

    def full(self: OneStep, batch: Any, size: Any) -> Any:
        if any(np.array_equal(image, bad) for image in batch):
            raise MemoryError("9 x 6 pixels take more memory than there is")
        return call(self, batch, size)

    monkeypatch.setattr(OneStep, "__call__", full)
    assert command(tmp_path / "in", "--batch", 3) == 1
    assert names(tmp_path / "out") == ["a.png", "c.png"]
    said = capsys.readouterr()
    assert "b.png: 9 x 6 could not be restored: 9 x 6 pixels take more memory" in said.err
    assert "2 restored, 1 failed" in said.out
    record = json.loads((tmp_path / "out" / journal.NAME).read_text())
    assert record["images"]["b.png"]["error"]
    assert record["images"]["a.png"]["size_out"] == [12, 18]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "nowhere: no such file or folder"),
        (["."], "holds no image"),
        ([], "no input"),
        (["*.jpg"], "matches no image"),
        (["a.png", "--scale", "0"], "--scale: got 0.0, allowed: more than 0"),
        (["a.png", "--batch", "0"], "--batch: got 0, allowed: 1 or more"),
        (["a.png", "--prompt", "a cat"], "no text_encoder"),
    ],
)
def test_a_mistake_is_one_line(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if "a.png" in given:
        picture(tmp_path / "a.png")
    assert command(*given) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_the_choices_are_those_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["upscale", "--help"])
    said = capsys.readouterr().out
    for choices in (
        (*get_args(color.Alignment), "nofix"),
        devices.NAMES,
        ("omgsr", *registry.NAMES),
    ):
        assert "{" + ",".join(choices) + "}" in " ".join(said.split())
    assert "omgsr upscale photo.jpg -o restored --model omgsr-s-512" in said
    assert "counted from" in " ".join(said.split())


def test_the_view_of_tiles_is_taken_and_recorded(
    command: Run, tiny: Path, model: Path, tmp_path: Path
) -> None:
    given = picture(tmp_path / "a.png", 48, 48)
    found = []
    for view in ("image", "tile"):
        out = tmp_path / view
        assert command(given, "--tile", "32", "--view", view, "--color", "none", out=out) == 0
        assert json.loads((out / journal.NAME).read_text())["settings"]["view"] == view
        found.append(images.read_rgb(out / "a.png"))
        method = OneStep(
            benchmarks.merge(run_card.load(model, tiny)[0]),
            color="none", tile=32, view=view, seed=42,
        )  # fmt: skip
        [expected] = method([images.read_rgb(given)], (96, 96))
        np.testing.assert_array_equal(found[-1], np.rint(expected * 255).astype(np.uint8))
    assert not np.array_equal(*found)


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        (["--scale", "1.5"], (10, 14)),  # 9 * 1.5 = 13.5 rounds to even, as Python does
        (["--longest-side", "31"], (21, 31)),
        (["--upscale", "2"], (12, 18)),
    ],
)
def test_the_size_is_exactly_what_was_asked(
    command: Run, tmp_path: Path, flags: list[str], size: tuple[int, int]
) -> None:
    picture(tmp_path / "a.png", 7 if "1.5" in flags else 6, 9)
    assert command(tmp_path / "a.png", *flags) == 0
    assert images.read_rgb(tmp_path / "out" / "a.png").shape[:2] == size


def test_grey_16_bits_and_transparency_survive(command: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(rng.integers(0, 256, (8, 9), dtype=np.uint8)).save(folder / "grey.png")
    deep = rng.integers(0, 65536, (8, 9, 3), dtype=np.uint16)
    assert cv2.imwrite(str(folder / "deep.png"), deep)
    clear = rng.integers(0, 256, (8, 9, 4), dtype=np.uint8)
    Image.fromarray(clear).save(folder / "clear.png")
    assert command(folder, "--batch", 3) == 0
    out = tmp_path / "out"
    with Image.open(out / "grey.png") as grey:
        assert grey.mode == "L"
    assert cv2.imread(str(out / "deep.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint16
    restored = cv2.imread(str(out / "clear.png"), cv2.IMREAD_UNCHANGED)
    assert restored.shape == (16, 18, 4)
    assert restored[..., 3].std() > 1  # transparency has been restored too


@pytest.mark.parametrize("method", ["bicubic", "lanczos"])
def test_another_method_needs_no_model(tmp_path: Path, method: str) -> None:
    one = picture(tmp_path / "one.png")
    words = ["upscale", str(one), "-o", str(tmp_path / "out"), "--method", method, "--scale", "3"]
    assert main(words) == 0
    kind = getattr(Image.Resampling, method.upper())
    expected = np.asarray(Image.fromarray(images.read_rgb(one)).resize((27, 18), kind))
    np.testing.assert_array_equal(images.read_rgb(tmp_path / "out" / "one.png"), expected)
    record = json.loads((tmp_path / "out" / journal.NAME).read_text())
    assert record["model"]["method"] == method


def test_flags_stand_in_any_order_and_under_the_fields_names(
    tiny: Path, model: Path, tmp_path: Path
) -> None:
    one = picture(tmp_path / "one.png")
    words = ["--align_method", "nofix", "--output_dir", tmp_path / "out", "-i", one, "--upscale"]
    words += [2, "--model", model, "--foundation", tiny, "--device", "cpu"]
    assert main(["upscale", *map(str, words)]) == 0
    assert names(tmp_path / "out") == ["one.png"]


def test_a_full_disk_stops_with_a_message(
    command: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    picture(tmp_path / "a.png")
    monkeypatch.setattr("omgsr.core.files.write_bytes", full)
    assert command(tmp_path / "a.png") == 1
    assert "No space left on device" in capsys.readouterr().err
    assert names(tmp_path / "out") == []


def test_help_does_not_wait_for_torch() -> None:
    code = "import sys; from omgsr.commands import upscale; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_outputs_keep_the_whole_name_but_the_suffix(command: Run, tmp_path: Path) -> None:
    """The official code cuts at the first dot: a.b.png and a.c.png were one a.png."""
    for name in ("a.b.png", "a.c.png", "a.png"):
        picture(tmp_path / "in" / name)
    assert command(tmp_path / "in") == 0
    assert names(tmp_path / "out") == ["a.b.png", "a.c.png", "a.png"]

"""The check of the data: what it counts, measures and finds, and the command that shows it."""

import json
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from omgsr import cli, config
from omgsr.config import Config
from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.data import audit, audit_report
from omgsr.data.audit import Part
from omgsr.data.settings import Benchmark, Folder, Images

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)


def picture(path: Path, width: int, height: int) -> None:
    """An image like no other."""
    images.write_png(path, RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Sub-folders as LSDIR has them, and a paired test set of scale 4."""
    for index in range(6):
        picture(tmp_path / f"lsdir/000{index // 3}000/{index}.png", 100 + index, 128)
    for index in range(2):
        picture(tmp_path / f"test/lq/{index}_LR4.png", 20, 16)
        picture(tmp_path / f"test/hq/{index}_HR.png", 80, 64)
    return tmp_path


def settings(data: Path, **folder: object) -> Config:
    """The mini profile with these images, crops of 96."""
    base = config.load(ROOT, "mini")
    train = Images(folders=(Folder(**{"path": str(data / "lsdir")} | folder),))
    lq, hq = (Images(folders=(Folder(path=str(data / f"test/{s}")),)) for s in ("lq", "hq"))
    test = Benchmark(lq=lq, hq=hq, crop=None, degradation=None, paired=True)
    return replace(base, data=replace(base.data, train=train), benchmarks={"real": test})


def check(given: Config, root: Path, deep: bool = False) -> tuple[dict[str, Part], list[str]]:
    """The parts by name, and what is wrong."""
    parts = audit.parts(given.data, given.benchmarks, root)
    for _ in audit.look(parts, deep, workers=2):
        pass
    wrong = audit_report.problems(given.data, given.benchmarks, parts)
    return {part.where: part for part in parts}, wrong


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_right_is_measured(data: Path, deep: bool) -> None:
    parts, wrong = check(settings(data, expected=6), data, deep)
    assert wrong == []
    assert list(parts) == ["train.hq", "real.lq", "real.hq"]
    train = audit_report.report(parts["train.hq"])
    assert (train["images"], train["expected"]) == (6, 6)
    assert (train["smallest"], train["largest"]) == ([128, 100], [128, 105])
    assert train["shorter_side"] == {"64": 6}
    assert audit_report.span(64) == "64-127"
    assert parts["real.lq"].sizes == {"0_LR4": (16, 20), "1_LR4": (16, 20)}


def test_it_yields_every_image_in_order_and_keeps_none(data: Path) -> None:
    given = settings(data)
    parts = audit.parts(given.data, given.benchmarks, data)
    seen = [(part.where, name, look.size) for part, name, look in audit.look(parts, deep=False)]
    assert seen[0] == ("train.hq", "0000000__0", (128, 100))
    assert [name for _, name, _ in seen] == [name for part in parts for name in part.files]
    assert len(seen) == 10


def test_another_count_than_the_expected_is_wrong(data: Path) -> None:
    (line,) = check(settings(data, expected=84_991), data)[1]
    assert line.startswith("train.hq: ")
    assert "got 6 images in 2 folders, expected 84,991" in line


def test_small_images_are_wrong_unless_they_are_skipped(data: Path) -> None:
    picture(data / "lsdir/small.png", 95, 200)
    given = settings(data)
    parts, wrong = check(given, data)
    assert wrong == ["train.hq: 1 smaller than the crop 96: small"]
    assert parts["train.hq"].small == ["small"]
    assert check(replace(given, data=replace(given.data, too_small="skip")), data)[1] == []


def test_damage_after_the_header_is_found_by_decoding(data: Path) -> None:
    broken, empty = data / "lsdir/0000000/1.png", data / "lsdir/0000000/2.png"
    broken.write_bytes(broken.read_bytes()[:5000])
    empty.write_bytes(b"")
    assert check(settings(data), data)[1] == ["train.hq: 1 unreadable: 0000000__2"]
    parts, wrong = check(settings(data), data, deep=True)
    assert wrong == ["train.hq: 2 unreadable: 0000000__1, 0000000__2"]
    assert "is damaged" in parts["train.hq"].unreadable["0000000__1"]
    assert "is empty" in parts["train.hq"].unreadable["0000000__2"]


def test_copies_and_leaks_are_found_by_their_pixels(data: Path) -> None:
    pixels = Image.open(data / "lsdir/0000000/0.png")
    pixels.save(data / "lsdir/copy.png", compress_level=0)  # other bytes, the same pixels
    leaked = Image.open(data / "test/hq/1_HR.png")
    leaked.save(data / "lsdir/leak.bmp")
    given = replace(settings(data), data=replace(settings(data).data, too_small="skip"))
    assert check(given, data)[1] == []
    parts, wrong = check(given, data, deep=True)
    assert wrong == [
        "train.hq: 1 copies of other images: copy of 0000000__0",
        "real.hq: 1 images are in train too: 1_HR is leak",
    ]
    assert parts["train.hq"].copies == [("copy", "0000000__0")]


def test_images_of_other_sizes_and_equal_bytes_are_no_copies(tmp_path: Path) -> None:
    images.write_png(tmp_path / "a.png", np.zeros((4, 8, 3), np.uint8))
    images.write_png(tmp_path / "b.png", np.zeros((8, 4, 3), np.uint8))
    first, second = (
        audit.measure(tmp_path / name, deep=True).digest for name in ("a.png", "b.png")
    )
    assert first != second


def test_a_file_that_is_trained_on_and_tested_on_is_found_without_decoding(data: Path) -> None:
    given = settings(data)
    hq = Images(folders=(Folder(path=str(data / "lsdir/0001000")),))
    test = Benchmark(hq=hq, crop=None, degradation="light", paired=True)
    (line,) = check(replace(given, benchmarks={"test": test}), data)[1]
    assert line.startswith("test.hq: 3 images are in train too: 3 is 0001000__3, ")


def test_pairs_that_do_not_fit_are_named(data: Path) -> None:
    picture(data / "test/hq/1_HR.png", 64, 80)
    assert check(settings(data), data)[1] == [
        "real: 1 pairs whose HQ is not 4 times the LQ: 1 (20 x 16 and 64 x 80)"
    ]
    (data / "test/hq/1_HR.png").unlink()
    (line,) = check(settings(data), data)[1]
    assert "benchmarks.real: 1 images without a partner of the same name: LQ 1" in line


def test_images_of_another_size_than_the_expected_are_named(data: Path) -> None:
    given = settings(data)
    test = given.benchmarks["real"]
    assert test.lq is not None
    sided = replace(test.lq, folders=(replace(test.lq.folders[0], side=16),))
    wrong = check(replace(given, benchmarks={"real": replace(test, lq=sided)}), data)[1]
    assert wrong == ["real.lq: 2 of another size than 16 x 16: 0_LR4 (20 x 16), 1_LR4 (20 x 16)"]


def test_full_size_pairs_that_are_smaller_than_their_crop_are_named(data: Path) -> None:
    given = settings(data)
    test = replace(given.benchmarks["real"], crop=80)
    assert check(replace(given, benchmarks={"real": test}), data)[1] == [
        "real.lq: 2 smaller than the crop 20: 0_LR4, 1_LR4",
        "real.hq: 2 smaller than the crop 80: 0_HR, 1_HR",
    ]


def test_missing_folders_and_lists_are_named_and_the_rest_is_checked(data: Path) -> None:
    (data / "list.txt").write_text("gone.png\n")
    given = settings(data, path=str(data / "list.txt"))
    parts, (line,) = check(given, data)
    assert "list.txt: 1 of 1 listed files do not exist" in line
    assert len(parts["real.hq"].sizes) == 2


def test_packaged_photographs_are_read_and_generated_images_counted() -> None:
    parts, wrong = check(config.load(ROOT, "mini"), ROOT)
    assert wrong == []
    assert len(parts["train.hq"].files) == len(parts["train.hq"].sizes) >= 10
    assert parts["mini_lq_leaves.hq"].generated > 0


# Sizes from headers ---------------------------------------------------------------------------


def late_exif(path: Path, orientation: int) -> None:
    """Puts an orientation behind the pixels of a PNG, where some programs write it."""
    body = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + struct.pack(">HHI", orientation, 0, 0)
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    whole = path.read_bytes()
    path.write_bytes(whole[:-12] + chunk + whole[-12:])


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("kind", ["png", "late.png", "jpg", "webp", "tif"])
def test_headers_give_the_size_of_what_is_read(
    tmp_path: Path, kind: str, orientation: int | None
) -> None:
    path = tmp_path / f"a.{kind}"
    exif = Image.Exif()
    if orientation and kind != "late.png":
        exif[ExifTags.Base.Orientation] = orientation
    pixels = RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)
    if orientation and kind == "late.png":
        late_exif(path, orientation)
    size = images.read_size(path)
    assert size == images.read_rgb(path).shape[:2]
    assert size == ((300, 200) if (orientation or 1) > 4 else (200, 300))


def test_headers_refuse_what_reading_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "a.png", 30, 20)
    monkeypatch.setenv("OMGSR_MAX_PIXELS", "599")
    with pytest.raises(ImageError, match="30 x 20 is 600 pixels, over the limit"):
        images.read_size(tmp_path / "a.png")
    with pytest.raises(ImageError, match="no such image file"):
        images.read_size(tmp_path / "b.png")


def test_a_png_is_not_decoded_for_its_size(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 300, 300)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:100_000])
    assert images.read_size(tmp_path / "a.png") == (300, 300)
    with pytest.raises(ImageError, match="is damaged"):
        images.read_rgb(tmp_path / "a.png")


# The command ----------------------------------------------------------------------------------


@pytest.fixture
def workspace(data: Path) -> Path:
    """A repository whose profile has one folder filled in and one that is null."""
    (data / "configs").mkdir()
    (data / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    lines = (ROOT / "configs/mini.yaml").read_text(encoding="utf-8").splitlines()
    begin, end = lines.index("data:"), lines.index("foundation:")
    sets = [
        "data:",
        "  train: {folders: [{path: lsdir, expected: 6}, {path: null, obtain: from the shop}]}",
        "  crop: 96",
        "  crops_per_image: 1",
        "  scale: 4",
        "  degradation: light",
        "  enlarge: bicubic",
        "benchmarks:",
        "  real: {lq: {folders: [test/lq]}, hq: {folders: [test/hq]}, crop: null,",
        "         degradation: null, paired: true}",
    ]
    text = "\n".join([*lines[:begin], *sets, *lines[end:]]) + "\n"
    (data / "configs/mini.yaml").write_text(text, encoding="utf-8")
    return data


def test_the_command_checks_what_is_filled_in(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", str(workspace)]) == 0
    said = capsys.readouterr().out
    assert "data.train.folders[1].path: from the shop" in said
    (line,) = [line for line in said.splitlines() if line.startswith("train.hq")]
    cells = ["train.hq", "6", "6", "100 x 128", "105 x 128", "0", "0", "-"]
    assert re.split("  +", line) == cells
    assert said.endswith("\nall right\n")


def test_the_command_fails_and_writes_its_report(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(workspace / "lsdir/small.png", 40, 40)
    report = workspace / "out/report.json"
    assert cli.main(["data", str(workspace), "--deep", "--json", str(report)]) == 1
    said = capsys.readouterr().out
    wrong = [
        "train.hq: lsdir: got 7 images in 3 folders, expected 6;",
        "train.hq: 1 smaller than the crop 96: small",
    ]
    assert all(f"  {line}" in said for line in wrong)
    written = json.loads(report.read_text())
    assert [line.startswith(w) for line, w in zip(written["wrong"], wrong, strict=True)] == [
        True
    ] * 2
    assert written["unset"] == {"data.train.folders[1].path": "from the shop"}
    train = written["sets"][0]
    assert (train["images"], train["expected"], train["smallest"]) == (7, 6, [40, 40])
    assert train["smaller_than_crop"] == ["small"]
    assert written["deep"] is True


def test_a_profile_without_any_path_is_not_all_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["data", str(ROOT), "--profile", "paper"]) == 1
    said = capsys.readouterr().out
    assert "nothing to check: no path of this profile is filled in" in said
    assert "data.train.folders[0].path: LSDIR" in said

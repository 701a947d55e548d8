"""Folders and lists of files: the same images in the same order, and what is wrong with a list."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from omgsr.core.image_files import ImageError
from omgsr.data import image_lists

NAMES = ("0001000/0000001.png", "0001000/0000002.png", "0002000/0001001.png", "0085000/0084991.png")


@pytest.fixture
def lsdir(tmp_path: Path) -> Path:
    """A folder with LSDIR's layout inside: HR/train/<thousand>/<image>.png."""
    for name in NAMES:
        path = tmp_path / "HR/train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)
    return tmp_path


def write_txt(path: Path, names: list[str]) -> None:
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def write_json(path: Path, names: list[str]) -> None:
    path.write_text(json.dumps([{"path": name} for name in names]))


def write_parquet(path: Path, names: list[str]) -> None:
    pd.DataFrame({"path": names, "caption": "a cat", "width": 8}).to_parquet(path)


WRITERS = {"txt": write_txt, "json": write_json, "parquet": write_parquet}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_list_is_the_folder_above_its_files(lsdir: Path, kind: str, absolute: bool) -> None:
    start = f"{lsdir}/" if absolute else ""
    path = lsdir / f"train.{kind}"
    WRITERS[kind](path, [f"{start}HR/train/{name}" for name in reversed(NAMES)])
    assert image_lists.files(path) == (lsdir / "HR/train", [Path(name) for name in NAMES])
    assert image_lists.files(path) == image_lists.files(lsdir / "HR/train")


def test_a_text_from_windows_with_comments(lsdir: Path) -> None:
    text = f"# LSDIR\r\n\r\nHR/train/{NAMES[0]}\r\n  HR/train/{NAMES[1]}  \r\n"
    (lsdir / "a.TXT").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert image_lists.files(lsdir / "a.TXT")[1] == [Path("0000001.png"), Path("0000002.png")]


def test_paths_may_leave_the_lists_folder(lsdir: Path) -> None:
    (lsdir / "lists").mkdir()
    write_txt(lsdir / "lists/a.txt", [f"../HR/train/{NAMES[0]}", f"{lsdir}/HR/train/{NAMES[3]}"])
    assert image_lists.files(lsdir / "lists/a.txt") == (
        lsdir / "HR/train",
        [Path(NAMES[0]), Path(NAMES[3])],
    )


def test_one_file_and_names_of_any_language(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "übung 1#.png")
    write_txt(tmp_path / "a.txt", ["übung 1#.png"])
    assert image_lists.files(tmp_path / "a.txt") == (tmp_path, [Path("übung 1#.png")])


def test_plain_texts_in_json(lsdir: Path) -> None:
    (lsdir / "a.json").write_text(json.dumps([f"HR/train/{NAMES[0]}"]))
    assert image_lists.files(lsdir / "a.json")[1] == [Path("0000001.png")]


def test_the_only_text_column_of_a_parquet_and_categories(lsdir: Path) -> None:
    frame = pd.DataFrame({"n": [1], "file": [f"HR/train/{NAMES[0]}"]})
    frame.to_parquet(lsdir / "a.parquet")
    frame.astype({"file": "category"}).to_parquet(lsdir / "b.parquet")
    for name in ("a", "b"):
        assert image_lists.files(lsdir / f"{name}.parquet")[1] == [Path("0000001.png")]


def test_a_folder_may_be_called_like_a_list(lsdir: Path) -> None:
    os.rename(lsdir / "HR/train", lsdir / "HR/all.txt")
    assert image_lists.files(lsdir / "HR/all.txt")[1] == [Path(name) for name in NAMES]


def test_missing_files_are_counted_and_named(lsdir: Path) -> None:
    write_txt(lsdir / "a.txt", [f"HR/train/{NAMES[0]}", *(f"gone/{i}.png" for i in range(5))])
    with pytest.raises(ImageError) as error:
        image_lists.files(lsdir / "a.txt")
    said = str(error.value)
    assert said.startswith(f"{lsdir}/a.txt: 5 of 6 listed files do not exist: {lsdir}/gone/0.png, ")
    assert "gone/2.png and 2 more; relative paths start at the list's folder" in said


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", b"", "lists no file"),
        ("a.txt", b"# nothing\n\n", "lists no file"),
        ("a.txt", b"\xff\xfeH\x00", "is not UTF-8"),  # as PowerShell's > writes it
        ("a.txt", b"x.txt\n./x.txt\n", r"lists .*x\.txt more than once"),
        ("a.txt", b"a\0b\n", r"1 of 1 entries are no path, such as 'a\\x00b'"),
        ("a.txt", b"HR/train\n", "1 of 1 listed files do not exist"),  # a folder is no file
        ("a.json", b"{}", "holds no list; needed"),
        ("a.json", b"[1, {}]", "2 of 2 entries are no path, such as 1"),
        ("a.json", b"[", "not valid JSON, line 1"),
        ("a.parquet", b"PAR1", "is damaged or no parquet file"),
        ("a.csv", b"", r"neither a folder nor a list \(\.txt, \.json, \.parquet\)"),
    ],
)
def test_broken_lists_are_named(lsdir: Path, name: str, data: bytes, message: str) -> None:
    (lsdir / "x.txt").touch()
    (lsdir / name).write_bytes(data)
    with pytest.raises(ImageError, match=message):
        image_lists.files(lsdir / name)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": ["x"], "b": ["y"]}, r"needs a column `path` of texts.*got the columns a, b"),
        ({"n": [1]}, "got the columns n"),
        ({"path": [1]}, "got the columns path"),
        ({"path": ["a.png", None]}, "1 of 2 entries are no path"),
    ],
)
def test_parquets_without_paths_are_named(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    pd.DataFrame(columns).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ImageError, match=message):
        image_lists.files(tmp_path / "a.parquet")


def test_absent_lists_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.txt: no such list of files"):
        image_lists.files(tmp_path / "a.txt")
    with pytest.raises(ImageError, match="photos: no such folder"):
        image_lists.files(tmp_path / "photos")

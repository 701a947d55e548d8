import errno
import json
import os
import stat
from pathlib import Path

import pytest

from omgsr.core import files


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new/folder/a.txt"
    with files.atomic(path) as temporary:
        temporary.write_text("done")
        assert not path.exists()
        assert temporary.suffix == ".txt"
    assert path.read_text() == "done"
    assert list(path.parent.iterdir()) == [path]


def fail(path, action):
    with files.atomic(path) as temporary:
        temporary.write_text("half")
        action()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    def stop():
        raise error

    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        fail(path, stop)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_says_what_to_do(tmp_path):
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match=r"No space left.*nothing was left behind; free some") as info:
        fail(path, lambda: Path("/dev/full").write_text("x"))
    assert info.value.errno == errno.ENOSPC
    assert info.value.filename == str(path)
    assert not list(tmp_path.iterdir())


def test_permissions_are_those_of_any_new_file(tmp_path):
    files.write_text(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.txt", "b.txt")}
    assert len(modes) == 1


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_everybody_reads_what_the_umask_lets(tmp_path, umask):
    before = os.umask(umask)
    try:
        with files.atomic(tmp_path / "weights") as temporary:
            temporary.touch(mode=0o600)  # as safetensors makes its files
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o666 & ~umask


def test_json_round_trip(tmp_path):
    value = {"t": 154, "mean": 0.1, "none": None, "name": "Häggström", "list": [1, 2]}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert "Häggström" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_json_has_no_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_broken_json_is_named_with_its_line(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"t": 1}, indent=1)[:-1])
    with pytest.raises(ValueError, match=r"t\.json: not valid JSON, line 3.*dvc repro"):
        files.read_json(path)


def test_a_missing_stage_output_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"an earlier stage writes it.*dvc repro.*t\.json"):
        files.read_json(tmp_path / "t.json")


@pytest.mark.parametrize("letter", ["a", "é", "木"])
def test_names_as_long_as_the_file_system_takes_can_be_written(tmp_path, letter):
    count = 250 // len(letter.encode())
    first, second = (tmp_path / f"{head}{letter * (count - 1)}.png" for head in "xy")
    with files.atomic(first) as one, files.atomic(second) as two:  # both at once
        one.write_text("1")
        two.write_text("2")
        assert one.suffix == ".png"
        assert one.name.startswith(".tmp-")
    assert (first.read_text(), second.read_text()) == ("1", "2")
    assert len(list(tmp_path.iterdir())) == 2

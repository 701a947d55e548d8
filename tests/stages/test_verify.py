"""`make verify` finds a flipped bit that DVC does not see, and says what brings the file back."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos.damage import flip, told
from stages import verify

STAGES = """
stages:
  make:
    cmd: mkdir runs && echo one > runs/a.txt && echo two > "runs/b c.txt" && echo three > table.csv
    outs: [runs]
    metrics: [{table.csv: {cache: false}}]
  read:
    cmd: cat runs/* table.csv > all.txt
    deps: [runs, table.csv]
    outs: [all.txt]
"""


def dvc(*words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    verify.store.cache_clear()
    verify.stages.cache_clear()
    dvc("init", "--no-scm", "-q")
    Path("dvc.yaml").write_text(STAGES)
    dvc("repro", "-q")
    return tmp_path


def test_what_is_whole_is_said_to_be(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify.main()
    assert "All 8 files" in capsys.readouterr().out  # four, three of them and a list in the cache


@pytest.mark.parametrize("name", ["runs/b c.txt", "table.csv", "cache"])
def test_a_flipped_bit_is_found_and_the_command_brings_it_back(workspace: Path, name: str) -> None:
    outputs = {path: path.read_bytes() for path in map(Path, ["runs/b c.txt", "table.csv"])}
    kept = verify.cached(verify.of(Path("runs/b c.txt")))
    path = kept if name == "cache" else Path(name)
    flip(path, random.Random(0))
    assert "up to date" in dvc("repro")  # DVC does not see it
    with pytest.raises(ValueError, match="1 of ") as caught:
        verify.main()
    assert path.name in str(caught.value)
    command = str(caught.value).partition("run it again: ")[2].partition(";")[0]
    subprocess.run(command.replace("dvc repro", "true"), shell=True, check=True)
    dvc("repro")
    verify.main()
    assert {path: path.read_bytes() for path in outputs} == outputs


@pytest.mark.parametrize("name", ["runs/b c.txt", "table.csv"])
def test_results_of_a_damaged_file_are_made_again(workspace: Path, name: str) -> None:
    whole = Path("all.txt").read_bytes()
    flip(Path(name), random.Random(0))
    dvc("repro", "-fs", "read")
    assert Path("all.txt").read_bytes() != whole
    verify.stages.cache_clear()
    with pytest.raises(ValueError, match="dvc repro -fs read && dvc repro") as caught:
        verify.main()
    damaged, readers = told(str(caught.value))
    assert (damaged, readers) == ([name], ["read"])
    Path(name).unlink()
    dvc("repro")
    dvc("repro", "-fs", *readers)
    dvc("repro")
    assert Path("all.txt").read_bytes() == whole
    verify.stages.cache_clear()
    verify.main()


def test_a_folder_without_a_list_is_named(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for listing in verify.store().rglob("*.dir"):
        listing.unlink()
    verify.main()
    found = capsys.readouterr().out.splitlines()
    assert found[0].startswith("All 3 files")  # table.csv, all.txt and its copy in the cache
    assert found[1].endswith(": runs/")


def test_nothing_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verify.stages.cache_clear()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="run `dvc repro`"):
        verify.main()

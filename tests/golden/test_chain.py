"""The chain gives the committed digests, whatever kernels this processor would choose."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden import chain


def run(checkout: Path, **switches: str) -> subprocess.CompletedProcess[str]:
    """The chain in a process of its own, as its docstring says."""
    bare = {k: v for k, v in os.environ.items() if k not in chain.exact.ENVIRONMENT}
    return subprocess.run(
        [sys.executable, "-m", "tests.golden.chain"],
        cwd=checkout, env=bare | switches, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.usefixtures("avx2")
def test_every_link_is_the_same_here(checkout: Path) -> None:
    """Also where the user has asked oneDNN, torch and MKL for other kernels."""
    told = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX", "ATEN_CPU_CAPABILITY": "avx512"}
    done = run(checkout, **told, MKL_CBWR="AUTO", OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same") == len(chain.LINKS)


@pytest.mark.parametrize("link", chain.LINKS)
def test_a_link_that_departs_is_named(link: str) -> None:
    expected = json.loads(chain.EXPECTED.read_text())
    assert chain.compare(expected, expected) == []
    assert chain.compare(expected | {link: "0" * 16}, expected) == [link]


def test_a_changed_byte_changes_the_digest(tmp_path: Path) -> None:
    for paths in chain.LINKS.values():
        for path in paths:
            inside = tmp_path / path / "a.bin" if "." not in Path(path).name else tmp_path / path
            inside.parent.mkdir(parents=True, exist_ok=True)
            inside.write_bytes(b"1")
    before = chain.digests(tmp_path)
    for link, paths in chain.LINKS.items():
        target = next(chain.files_of(tmp_path, paths))
        target.write_bytes(b"2")
        assert chain.compare(chain.digests(tmp_path), before) == [link]
        target.write_bytes(b"1")

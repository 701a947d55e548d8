"""Memory: what is free, the tile that it takes, and what counts as having run out."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omgsr.inference import memory_budget

CPU = torch.device("cpu")
GIB = 2**30


def test_this_machine_has_memory() -> None:
    assert GIB // 16 < memory_budget.free(CPU) < 2**50


@pytest.mark.parametrize(
    ("names", "limit"),
    [
        (("memory.max", "memory.current"), "3000000"),
        (("memory.limit_in_bytes", "memory.usage_in_bytes"), "3000000"),
        (("memory.max", "memory.current"), "max"),
    ],
)
def test_a_containers_limit_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], limit: str
) -> None:
    (tmp_path / names[0]).write_text(limit + "\n")
    (tmp_path / names[1]).write_text("1000000\n")
    monkeypatch.setattr(memory_budget, "_GROUPS", {Path("/absent"): names, tmp_path: names})
    if limit == "max":
        assert memory_budget.free(CPU) > 2_000_000
    else:
        assert memory_budget.free(CPU) == 2_000_000


def test_ulimit_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + 50_000_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert 0 <= memory_budget.free(CPU) <= 50_000_000


def test_without_limits_all_that_the_machine_has_available_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("_group_limit", "_address_limit"):
        monkeypatch.setattr(memory_budget, name, lambda: None)
    machine = SimpleNamespace(available=123_456)
    monkeypatch.setattr(memory_budget.psutil, "virtual_memory", lambda: machine)
    assert memory_budget.free(CPU) == 123_456


@given(
    memory=st.integers(-GIB, 2**38), pixel=st.integers(100, 10_000),
    multiple=st.sampled_from([4, 8, 64, 128]),
)  # fmt: skip
def test_four_tiles_fit_into_memory(memory: int, pixel: int, multiple: int) -> None:
    side = memory_budget.largest_tile(memory, pixel, multiple)
    assert side % multiple == 0
    assert memory_budget.SMALLEST <= side <= memory_budget.LARGEST
    if side > max(memory_budget.SMALLEST, multiple):
        assert 4 * side**2 * pixel <= memory
    larger = side + multiple
    if side >= memory_budget.SMALLEST and larger <= memory_budget.LARGEST:
        assert 4 * larger**2 * pixel > memory, "the largest that does"


def test_half_precision_takes_half() -> None:
    fp32, bf16 = (memory_budget.bytes_per_pixel(256, d) for d in (torch.float32, torch.bfloat16))
    assert (fp32, bf16) == (5120, 2560)


def test_what_the_cpu_says_when_memory_has_run_out() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**50)
    assert memory_budget.is_exhaustion(error.value)
    for other in (MemoryError(), torch.OutOfMemoryError("CUDA out of memory"),
                  RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
                  SystemError("error return without exception set"),
                  OSError("libgomp.so: failed to map segment from shared object"),
                  OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))):  # fmt: skip
        assert memory_budget.is_exhaustion(other)
    for words in ("could not create a primitive", "could not execute a primitive",
                  "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't "
                  "allocate memory: you tried to allocate 1 bytes."):  # fmt: skip
        assert memory_budget.is_exhaustion(RuntimeError(words))
    unknown = RuntimeError("could not create a primitive descriptor for a convolution")
    for other in (ValueError("out of memory"), RuntimeError("shapes differ"), unknown):
        assert not memory_budget.is_exhaustion(other)


def test_what_onednn_says_when_memory_has_run_out() -> None:
    """A convolution with no memory left: its error says nothing of memory."""
    code = """
import resource, torch
from pathlib import Path
from omgsr.inference import memory_budget as budget
network, x = torch.nn.Conv2d(64, 64, 3, padding=1), torch.zeros(1, 64, 512, 512)
found = []
for spare in range(0, 160, 20):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + spare * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    try:
        with torch.inference_mode():
            network(x)
    except RuntimeError as error:
        found.append(error)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
assert all(map(budget.is_exhaustion, found)), found
print(len(found))
"""
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0

"""`exact`: prepared before libraries are loaded, and square roots that are IEEE's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from omgsr.core import exact

SQUARE_ROOTS = """
import numpy as np, torch
from omgsr.core import exact

exact.settle()
exact.settle()
x = torch.rand(50_000, generator=torch.Generator().manual_seed(0)) * 9
assert np.array_equal(x.sqrt().numpy(), np.sqrt(x.numpy()))
assert np.array_equal(x.double().sqrt().numpy(), np.sqrt(x.double().numpy()))
assert torch.equal(x.clone().sqrt_(), x.sqrt())
assert torch.equal(torch.sqrt(x, out=torch.empty(0)), x.sqrt())
assert torch.equal(torch._foreach_sqrt([x, x])[1], x.sqrt())
grid = x.view(50, 1000).t()
assert torch.equal(grid.sqrt(), grid.contiguous().sqrt())
for kind in (torch.bfloat16, torch.float16):
    assert torch.equal(x.to(kind).sqrt(), x.to(kind).float().sqrt().to(kind))
assert torch.tensor(4).sqrt().dtype == torch.float32
assert torch.tensor(-1.0).sqrt().isnan() and torch.empty(0).sqrt().shape == (0,)
y = torch.tensor([4.0, 9.0], requires_grad=True)
y.sqrt().sum().backward()
assert torch.equal(y.grad, 1 / (2 * torch.tensor([2.0, 3.0])))
kernels = torch.backends.cpu.get_cpu_capability(), torch._C._dispatch_dump("aten::sqrt")
assert kernels[0] == "AVX2" and "exact.py" in kernels[1], kernels
"""


@pytest.mark.usefixtures("avx2")
def test_square_roots_are_correctly_rounded_in_a_prepared_process(checkout: Path) -> None:
    environment = os.environ | exact.ENVIRONMENT
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SQUARE_ROOTS],
        cwd=checkout, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_only_a_profile_that_asks_for_it_is_prepared_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "configs").mkdir()
    (tmp_path / "params.yaml").write_text("profile: small\n")
    for told, expected in (("exact: true", exact.ENVIRONMENT), ("exact: false", {}), ("", {})):
        (tmp_path / "configs/small.yaml").write_text(f"{told}\nseed: 0\n")
        environment: dict[str, str] = {}
        exact.begin(exact.profile(tmp_path), environment)
        assert environment == expected, told


def test_another_architecture_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    environment: dict[str, str] = {}
    exact.begin({"exact": True}, environment)
    assert environment == {}


@pytest.mark.parametrize("text", ["a: [", "- 1", "profile: ../../x", "\xff"])
def test_files_that_cannot_be_read_are_for_those_who_check_them(tmp_path: Path, text: str) -> None:
    assert exact.profile(tmp_path) == {}
    (tmp_path / "params.yaml").write_text(text, encoding="latin-1")
    assert exact.profile(tmp_path) == {}


@pytest.mark.usefixtures("avx2")
@pytest.mark.parametrize("told", ["true", "false"])
def test_a_stage_is_prepared_before_it_loads_a_library(
    checkout: Path, tmp_path: Path, told: str
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "params.yaml").write_text("profile: small\n")
    (tmp_path / "configs/small.yaml").write_text(f"exact: {told}\n")
    code = "import stages, sys, os; print('numpy' in sys.modules, os.environ.get('MKL_CBWR'))"
    bare = {k: v for k, v in os.environ.items() if k not in exact.ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=bare | {"PYTHONPATH": str(checkout)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "COMPATIBLE" if told == "true" else "None"]

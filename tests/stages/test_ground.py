"""What everything stands on: declared dependencies, pins, make, and the runner of the stages."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def imported(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    plain = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    named = {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    return {name.partition(".")[0] for name in plain | named}


TRACKING = {"live", "recording", "registry", "served", "store"}


def test_only_tracking_knows_mlflow_and_nothing_imports_dvc() -> None:
    files = [*(ROOT / "omgsr").rglob("*.py"), *(ROOT / "stages").rglob("*.py")]
    users = {f.relative_to(ROOT).as_posix() for f in files if imported(f) & {"mlflow", "dvc"}}
    assert users == {f"stages/tracking/{name}.py" for name in TRACKING}


def test_bitsandbytes_warns_nobody_of_its_kernels() -> None:
    code = (
        "import omgsr.method.lora, logging\n"
        "logging.getLogger('bitsandbytes.backends.cpu.ops').warning('Failed to load CPU gemm')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    exact = [line for line in lines if not line.startswith("#")]
    odd = [line for line in exact if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)]
    assert not odd, f"constraints.txt: only name==version lines: {odd}"
    return {re.sub("[-_.]+", "-", n).lower(): v for n, v in (line.split("==") for line in exact)}


def test_every_requirement_has_a_pin_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    exact = pins()
    for text in project["dependencies"] + project["optional-dependencies"]["dev"]:
        need = Requirement(text)
        version = exact[re.sub("[-_.]+", "-", need.name).lower()]
        assert need.specifier.contains(version, prereleases=True), f"{need}: pinned {version}"


def test_git_ignores_results_and_no_code() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("no git here (a zip download): nothing to ignore")
    ignored = ["data/a", "runs/a/b", "foundation/vae/a", "work/a", "mlflow.db", "mlartifacts/a"]
    kept = [
        "omgsr/models/foundation.py",
        "stages/data.py",
        "reports/scores.csv",
        "tests/data/a.csv",
    ]
    command = ["git", "check-ignore", "--no-index", *ignored, *kept]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ignored


def make(*arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


def test_make_lists_its_targets() -> None:
    shown = make().stdout
    for target in ("repro", "test", "test-all", "lint", "ui", "clean", "help"):
        assert re.search(rf"^  make {target} +\w", shown, re.MULTILINE)


def test_make_without_a_fitting_python_says_so(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("install", "PYTHON=no-such-python", cwd=tmp_path)
    assert done.returncode != 0
    assert "OMGSR needs Python 3.11 or 3.12" in done.stderr
    assert "no-such-python" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A temporary copy of the workspace as DVC makes them, with one small stage."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").touch()
    (tmp_path / "stages" / "hello.py").write_text(
        "import os, sys\n"
        "print(sys.prefix, *sys.argv[1:], os.environ['MLFLOW_DISABLE_TELEMETRY'], sep='|')\n"
        "sys.exit(7)\n"
    )
    return tmp_path


def run_stage(copy: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    clean = {k: v for k, v in os.environ.items() if k not in ("OMGSR_PYTHON", "DVC_ROOT")}
    command = ["sh", str(ROOT / "stages" / "run.sh"), "hello", "full", "a b"]
    return subprocess.run(
        command, cwd=copy, env=clean | environment, capture_output=True, text=True, timeout=60
    )


def test_a_stage_runs_with_the_workspaces_interpreter(copy: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / ".venv").symlink_to(sys.prefix)
    done = run_stage(copy, DVC_ROOT=str(root))
    assert done.stdout.strip() == f"{root}/.venv|full|a b|true"
    assert done.returncode == 7


def test_a_named_interpreter_comes_first(copy: Path) -> None:
    done = run_stage(copy, DVC_ROOT="/nowhere", OMGSR_PYTHON=sys.executable)
    assert done.stdout.strip() == f"{sys.prefix}|full|a b|true"


def test_an_interpreter_without_the_packages_is_refused(copy: Path) -> None:
    bare = copy / "bare"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -E "$@"\n')
    bare.chmod(0o755)
    done = run_stage(copy, OMGSR_PYTHON=str(bare))
    assert done.returncode == 1
    assert "torch" in done.stderr
    assert "make install" in done.stderr
    assert done.stdout == ""

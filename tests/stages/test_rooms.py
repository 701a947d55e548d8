"""The deps of dvc.yaml are the rooms that each stage runs, by the imports of its code."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
CODE = sorted(set(STAGES) - {"record"})
"""Stages whose code decides a result; `record` is always run and only shows."""


def called(stage: str) -> str:
    """The file that a stage runs: `sh stages/run.sh score ${item.method}` => stages/score.py."""
    return f"stages/{str(STAGES[stage]['cmd']).split()[2]}.py"


def dep(file: str) -> str:
    """What stands for a file among deps: its room, or itself as the code of a stage; '' for none.

    omgsr/method/lora.py => omgsr/method; stages/train.py => itself; omgsr/config.py => ''.
    """
    parts = file.split("/")
    if parts[0] == "omgsr":
        return "/".join(parts[:2]) if len(parts) > 2 else ""
    return file if len(parts) == 2 and parts[1] not in ("__init__.py", "launch.py") else ""


def names(node: ast.AST, package: str) -> Iterator[str]:
    """Every dotted name that an import statement of a module in `package` may mean."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")
        base = ".".join([*above[: len(above) - node.level + 1], node.module or ""]).strip(".")
        base = base if node.level else str(node.module)
        yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def checking_types(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`, whose body no stage runs."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, wherever an import may stand: at the top or in a function."""
    for child in ast.iter_child_nodes(node):
        if not checking_types(child):
            yield child
            yield from statements(child)


@cache
def imported(file: str, root: Path) -> set[str]:
    """The files of this project that a module imports, packages above them included."""
    tree = ast.parse((root / file).read_text(encoding="utf-8"))
    package, found = ".".join(Path(file).parent.parts), set()
    for name in {name for node in statements(tree) for name in names(node, package)}:
        parts = name.split(".")
        if parts[0] in ("omgsr", "stages"):
            for length in range(1, len(parts) + 1):
                path = "/".join(parts[:length])
                found |= {f for f in (f"{path}/__init__.py", f"{path}.py") if (root / f).is_file()}
    return found


def needed(start: str, root: Path = ROOT) -> set[str]:
    """The deps for what a stage's file runs, itself included, directly or through another module.

    What is no dep is not followed: the configuration, whose values are params, and the tracking.
    """
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if file not in seen and dep(file):
            seen.add(file)
            waiting += imported(file, root)
    return {dep(file) for file in seen}


def wrong(stage: str, deps: list[str], root: Path = ROOT) -> dict[str, set[str]]:
    """Code that a stage runs and its deps lack, and code of its deps that it does not run."""
    runs = needed(called(stage), root)
    given = {dep for dep in deps if re.match(r"stages|omgsr(?!/assets)", dep)}
    return {"lacks": runs - given, "does not run": given - runs}


@pytest.mark.parametrize("stage", CODE)
def test_deps_are_the_rooms_that_a_stage_runs(stage: str) -> None:
    deps = STAGES[stage]["deps"]
    assert wrong(stage, deps) == {"lacks": set(), "does not run": set()}
    code = [dep for dep in deps if dep.startswith(("omgsr", "stages"))]
    assert all((ROOT / dep).exists() for dep in code)


def test_a_wrong_dep_is_found() -> None:
    deps = list(STAGES["train"]["deps"])
    deps[deps.index("omgsr/method")] = "omgsr/reporting"
    assert wrong("train", deps) == {"lacks": {"omgsr/method"}, "does not run": {"omgsr/reporting"}}


def test_every_code_of_the_pipeline_is_covered() -> None:
    used = {called(stage) for stage in STAGES}
    here = {f"stages/{path.name}" for path in (ROOT / "stages").glob("*.py")}
    beside = {f"stages/{name}.py" for name in ("__init__", "crew", "launch", "verify")}
    assert here - used == beside
    assert called("score_baseline") == called("score")


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    files = {
        "stages/train.py": "from omgsr import a\nfrom stages import shared, tracking\n"
        "def f():\n    import omgsr.b.c\n",
        "stages/shared.py": "",
        "stages/tracking/__init__.py": "import omgsr.shown\n",
        "omgsr/__init__.py": '"""Only words."""\n',
        "omgsr/config.py": "from omgsr import only_here\n",
        "omgsr/a/__init__.py": "from .x import y\nfrom omgsr.config import load\nimport torch\n",
        "omgsr/a/x.py": "from typing import TYPE_CHECKING\nfrom ..d import y\n"
        "if TYPE_CHECKING:\n    from omgsr.only_here import z\n",
        "omgsr/b/__init__.py": "",
        "omgsr/b/c.py": "from omgsr.e.f import g\n",
        "omgsr/d/__init__.py": "y = 1\n",
        "omgsr/e/__init__.py": "",
        "omgsr/e/f.py": "g = 1\n",
        "omgsr/shown/__init__.py": "",
        "omgsr/only_here/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    own = {"stages/train.py", "stages/shared.py"}
    assert needed("stages/train.py", tmp_path) == own | {f"omgsr/{name}" for name in "abde"}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code in a workspace of DVC; the command of every stage prints what it is called."""
    folder = tmp_path_factory.mktemp("workspace")
    for name in ("omgsr", "stages", "configs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / ".dvcignore", folder)
    deps = {s: [d for d in STAGES[s]["deps"] if d.startswith(("omgsr", "stages"))] for s in CODE}
    stages = {stage: {"cmd": f"echo {stage}", "deps": own} for stage, own in deps.items()}
    YAML().dump({"stages": stages}, folder / "dvc.yaml")
    dvc(folder, "init", "-q", "--no-scm")
    dvc(folder, "repro", "-q")
    return folder


def dvc(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def changed(folder: Path, *names: str) -> set[str]:
    """The stages that DVC would run again after an edit of these files, which is undone."""
    before = {path: path.read_bytes() for path in (folder / name for name in names)}
    for path, content in before.items():
        path.write_bytes(content + b"\n")
    told = set(re.findall(r"^(\w+):$", dvc(folder, "status"), re.MULTILINE))
    for path, content in before.items():
        path.write_bytes(content)
    return told


def test_an_edit_reaches_the_stages_that_run_it_and_no_others(workspace: Path) -> None:
    assert "up to date" in dvc(workspace, "status")
    after = changed(workspace, "omgsr/method/losses.py")
    assert after == {"timestep", "train", "infer", "baseline"}
    after = changed(workspace, "omgsr/reporting/tables.py")
    assert after == {"timestep", "report", "page"}
    assert changed(workspace, "stages/score.py") == {"score", "score_baseline"}
    assert changed(workspace, "omgsr/core/files.py") == set(CODE)


def test_what_only_checks_or_shows_changes_no_stage(workspace: Path) -> None:
    compiled = "omgsr/method/__pycache__/lora.cpython-312.pyc"
    (workspace / compiled).parent.mkdir()
    (workspace / compiled).touch()
    others = ("launch.py", "run.sh", "record.py", "tracking/store.py", "experiments/ablate.py")
    shown = (f"stages/{name}" for name in others)
    assert changed(workspace, compiled, "omgsr/config.py", *shown) == set()


@pytest.mark.parametrize("stage", ["resolve", "record"])
def test_stages_that_only_pass_on_wait_for_no_torch(checkout: Path, stage: str) -> None:
    """A sweep has many of them."""
    slow = {"torch", "cv2", "pandas"}
    code = f"import stages.{stage}, sys; assert not {slow} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=checkout, check=True)

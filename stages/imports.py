"""What each stage's code depends on, from its imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

EXEMPT = {
    # The configuration reaches a stage as values, which dvc.yaml tracks as params: a check added
    # to its reader must not train every model again.
    "omgsr/config.py",
    "omgsr/plans.py",
    "omgsr/sections.py",
    "omgsr/core/build.py",
    "omgsr/cross_checks.py",
    "omgsr/core/limits.py",
    "omgsr/core/yaml_files.py",
    # These only show: MLflow what the stages have written, and which messages are seen; or choose
    # where a stage runs.
    "stages/tracking/evidence.py",
    "stages/imports.py",
    "stages/tracking/labels.py",
    "stages/launch.py",
    "stages/tracking/live.py",
    "stages/tracking/registry.py",
    "stages/tracking/served.py",
    "stages/tracking/store.py",
    "stages/tracking/recording.py",
    "stages/tracking/ui.py",
    "stages/__init__.py",
}


def _parts(node: ast.AST, package: str) -> Iterator[str]:
    """Give every dotted name that an import statement may mean."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([node.module] if node.module else [])])
        base = base if node.level else str(node.module)
        yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _files(name: str, root: Path) -> Iterator[Path]:
    """Give the files that importing a dotted name runs, packages above it included."""
    parts = name.split(".")
    if parts[0] not in ("omgsr", "stages"):
        return
    for length in range(1, len(parts) + 1):
        path = root.joinpath(*parts[:length])
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if file.is_file():
                yield file


@cache
def _imported(file: Path, root: Path) -> set[Path]:
    package = ".".join(file.relative_to(root).parent.parts)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = (name for node in ast.walk(tree) for name in _parts(node, package))
    return {found for name in names for found in _files(name, root)}


def modules(stage: str, root: Path = Path()) -> list[str]:
    """Give the files of this project that a stage runs, without docstring-only packages."""
    seen: set[Path] = set()
    waiting = [root / "stages" / f"{stage}.py"]
    while waiting:
        file = waiting.pop()
        name = file.relative_to(root).as_posix()
        if file in seen or name in EXEMPT:
            continue
        seen.add(file)
        waiting += _imported(file, root)
    return sorted(file.relative_to(root).as_posix() for file in seen if not _empty(file))


def _empty(file: Path) -> bool:
    """Say whether a module holds a docstring at most: such a package changes no result."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return file.name == "__init__.py" and all(isinstance(node, ast.Expr) for node in body)

"""YAML 1.2 files with errors that name the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from omgsr.core.settings import ConfigError


def read_yaml(path: Path, name: str) -> dict[str, Any]:
    """A YAML 1.2 file: 5e-5 is a number there, which PyYAML's YAML 1.1 reads as text."""
    try:
        value = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{name}: missing in {path.parent.resolve()}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 text at byte {error.start}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = " ".join((error.problem or "not valid YAML").split())
        raise ConfigError(f"{name}{line}: {problem}") from error
    except YAMLError as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{name}: got {type(value).__name__}, allowed: a mapping (key: value)")
    return value


def line_of(path: Path, keys: tuple[str | int, ...]) -> int | None:
    """The line of a YAML file that `keys` lead to, or of the deepest of them that is there."""
    node, line = YAML(typ="rt", pure=True).load(path.read_text(encoding="utf-8")), None
    for key in keys:
        try:
            row, _ = node.lc.item(key) if isinstance(key, int) else node.lc.key(key)
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line = row + 1
    return line

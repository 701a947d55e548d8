"""How messages are worded: many names, a name that nobody knows, a setting that is refused."""

import difflib
from collections.abc import Collection, Sequence
from typing import Any

from pydantic_core import ErrorDetails

Keys = tuple[str | int, ...]
"""What leads to a value of nested settings."""
Fault = tuple[Keys, str]
"""Keys that lead to what is wrong, and what is wrong with it."""
Schema = dict[str, Any]
_TYPES = {
    "integer": "a whole number", "number": "a number", "string": "text", "null": "null",
    "boolean": "true or false", "object": "a mapping (key: value)",
}  # fmt: skip
_LISTED = 40  # longer lists of allowed names are cut to the nearest ones


def some(names: Sequence[str], most: int = 3) -> str:
    """The first `most` names, and how many there are beside them: 'a, b, c and 4 more'."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def unknown(what: str, got: object, allowed: Collection[str]) -> str:
    """`what` 'got'; did you mean 'x'? Allowed: x, y."""
    near = difflib.get_close_matches(str(got), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    names = sorted(allowed)
    if len(names) > _LISTED:
        names = difflib.get_close_matches(str(got), names, n=_LISTED // 2, cutoff=0.3)
        hint += f" {len(allowed)} names, the nearest of which are listed."
    return f"{what} {got!r}{hint} Allowed: {', '.join(names) or '(none)'}"


def line(where: str, fault: Fault) -> str:
    """'file: a.b[0]: what is wrong'."""
    path, text = fault
    return f"{where}: {dotted(path)}: {text}" if path else f"{where}: {text}"


def dotted(path: Keys) -> str:
    """('a', 'b', 0) => 'a.b[0]'."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def fault(error: ErrorDetails, root: Schema) -> Fault:
    """Path and words of one error of pydantic; `root` is the JSON schema of the whole."""
    kind, path, got = error["type"], error["loc"], error["input"]
    if kind == "value_error":
        return path, str(error["ctx"]["error"])
    if kind == "unexpected_keyword_argument":
        return path[:-1], unknown("unknown key", path[-1], _at(root, path[:-1])["properties"])
    if path and path[-1] == "[key]":
        path = path[:-2]
        return path, unknown("got", got, _at(root, path)["propertyNames"]["enum"])
    if kind == "missing" and isinstance(path[-1], int):
        path, kind = path[:-1], "too_short"
    node = _at(root, path)
    if kind in ("too_short", "too_long") and "prefixItems" in node:
        return path, f"got {len(got)} values, allowed: {len(node['prefixItems'])}"
    if kind == "missing":
        return path, f"missing; needed: {_allowed(node, root)}"
    names = _options(node)
    if kind == "literal_error" and names:
        return path, unknown("got", got, list(map(str, names)))
    if kind.startswith(("greater_than", "less_than", "finite_number")):
        got = float(got) if node.get("type") == "number" else got
        return path, f"got {got}, allowed: {_range(node) or 'a finite number'}"
    return path, f"got {_shown(got)}, allowed: {_allowed(node, root)}"


def _at(root: Schema, path: Keys) -> Schema:
    """The schema of what `path` leads to."""
    node = root
    for key in path:
        node = _follow(node, root)
        if isinstance(key, int):
            fixed = node.get("prefixItems")
            node = fixed[key] if fixed else node["items"]
        else:
            node = node.get("properties", {}).get(key) or node["additionalProperties"]
    return _follow(node, root)


def _follow(node: Schema, root: Schema) -> Schema:
    """Without 'or null', and in place of a reference what it leads to."""
    real = [one for one in node.get("anyOf", ()) if one.get("type") != "null"]
    node = real[0] if len(real) == 1 else node
    return root["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def _options(node: Schema) -> list[Any]:
    return [node["const"]] if "const" in node else node.get("enum", [])


def _allowed(node: Schema, root: Schema) -> str:
    """A type as a person would say it."""
    node = _follow(node, root)
    if _options(node):
        return ", ".join(map(str, _options(node)))
    if node.get("type") == "array":
        return f"a list ({_allowed((node.get('prefixItems') or [node.get('items', {})])[0], root)})"
    return f"{_TYPES.get(node.get('type', ''), 'another value')} {_range(node)}".rstrip()


def _range(node: Schema) -> str:
    low, high = node.get("minimum"), node.get("maximum")
    if "exclusiveMinimum" in node:
        above = f"more than {node['exclusiveMinimum']:g}"
        return above if high is None else f"{above} and at most {high:g}"
    if low is None:
        return "" if high is None else f"at most {high:g}"
    return f"{low:g} or more" if high is None else f"{low:g}..{high:g}"


def _shown(value: object) -> str:
    text = repr(value)
    return "null" if value is None else text if len(text) <= 60 else text[:57] + "..."

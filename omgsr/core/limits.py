"""What a configured value may be, and how a refusal words it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection
from dataclasses import dataclass

_LISTED = 40  # longer lists of allowed names are cut to the nearest ones


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included unless `above` excludes `low`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def check(self, value: float) -> None:
        """Raises a ValueError that says the bounds."""
        inside = self.low < value if self.above else self.low <= value
        if not (math.isfinite(value) and inside and value <= self.high):
            raise ValueError(f"got {value}, allowed: {self}")

    def __str__(self) -> str:
        low = f"more than {self.low:g}" if self.above else f"{self.low:g} or more"
        if self.high == math.inf:
            return low
        return f"{low} and at most {self.high:g}" if self.above else f"{self.low:g}..{self.high:g}"


@dataclass(frozen=True)
class OneOf:
    """Names of a set that is known only at run time; `kind` says of what."""

    kind: str
    names: Callable[[], Collection[str]]

    def check(self, value: str) -> None:
        """Raises a ValueError with the nearest name."""
        if value not in (names := self.names()):
            raise ValueError(unknown(f"unknown {self.kind}", value, names))


def unknown(what: str, got: object, allowed: Collection[str]) -> str:
    """`what` 'got'; did you mean 'x'? Allowed: x, y."""
    near = difflib.get_close_matches(str(got), allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    names = sorted(allowed)
    if len(names) > _LISTED:
        names = difflib.get_close_matches(str(got), names, n=_LISTED // 2, cutoff=0.3)
        hint += f" {len(allowed)} names, the nearest of which are listed."
    return f"{what} {got!r}{hint} Allowed: {', '.join(names) or '(none)'}"

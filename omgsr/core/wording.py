"""How a message words many names."""

from collections.abc import Sequence


def some(names: Sequence[str], most: int = 3) -> str:
    """The first `most` names, and how many there are beside them: 'a, b, c and 4 more'."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

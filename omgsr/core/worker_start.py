"""Loaded before all else by the process from which workers are forked (parallel.py).

Where memory runs out while it loads libraries it says nothing, as the program that waits for it
does.
"""

import sys
from types import TracebackType

from omgsr.core.exhaustion import is_exhaustion


def last_word(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Shows all errors but this one."""
    if not is_exhaustion(error):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = last_word

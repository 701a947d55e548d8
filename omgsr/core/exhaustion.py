"""How libraries say that memory has run out."""

import re

# oneDNN says no more than that a primitive failed; of one that it has not, it says "descriptor".
# Python itself forgets what it raises where there is no memory for that either.
_EXHAUSTED = re.compile(
    "not enough memory|out of memory|[Cc]an(no|')t allocate memory|bad_alloc"
    "|failed to map segment|can't start new thread|error return without exception set"
    "|could not (create|execute) a primitive(?! descriptor)"
)


def is_exhaustion(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on a GPU or on the CPU."""
    if isinstance(error, MemoryError):
        return True
    of_libraries = isinstance(error, RuntimeError | ImportError | OSError | SystemError)
    return of_libraries and _EXHAUSTED.search(str(error)) is not None

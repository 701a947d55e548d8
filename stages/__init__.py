"""The stages of dvc.yaml: each reads its inputs, calls `omgsr`, and writes its outputs."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def workspace() -> Path:
    """Where the users' folders and work/ are; a temporary experiment runs in a copy beside it."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def call(main: Callable[..., None], words: Sequence[Any] | None = None) -> None:
    """Calls `main` with the words of the command line; a mistake is one line and exit code 1."""
    try:
        main(*(sys.argv[1:] if words is None else words))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")

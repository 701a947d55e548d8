"""The stages of dvc.yaml: each reads its inputs, calls `omgsr`, and writes its outputs.

This comes before any module of a stage and the libraries that those load, so what the setting
`exact` needs of them is prepared here, also for workers, ranks of a training and experiments; and
so is what a process says that ends for want of memory, were it while it loads them.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from omgsr.core import exact
from omgsr.core.exhaustion import is_exhaustion
from omgsr.core.fingerprint import sha256

if exact.MARK not in os.environ:
    exact.begin(exact.profile(Path()))


WRITTEN = ("data/source/", "data/pairs/", "runs/")
"""Where stages write images, which DVC brings back."""


LOST = re.compile("(closed|reset) by peer|pair closure")
"""What gloo says in a process of a training when another one has ended."""


def workspace() -> Path:
    """Where the users' folders and work/ are, also for DVC's temporary copies, where runs end."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def times_of(model: Path) -> Path:
    """The untracked file with clock times and memory of the training that made a model.

    Equal models are one result, however long they took: no output of a stage holds a time.
    """
    return workspace() / "work" / "times" / f"{sha256(model / 'omgsr.json')[:16]}.json"


def git(*words: str) -> bytes:
    """What a command of git prints; a ChildProcessError has its own words."""
    done = subprocess.run(["git", *words], capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ChildProcessError(f"`git {' '.join(words)}` failed: {said}")
    return done.stdout


def call(main: Callable[..., None], words: Sequence[Any] | None = None) -> None:
    """Calls `main` with the words of the command line; a mistake is one line and exit code 1."""
    exact.settle()
    try:
        main(*(sys.argv[1:] if words is None else words))
    except (ValueError, OSError, ImportError) as error:
        if any(map(is_exhaustion, causes(error))):
            raise
        sys.exit(f"{Path(sys.argv[0]).stem}: {reason(error)}")


def reason(error: Exception) -> str:
    """What an error says, in a line where a library says more."""
    if isinstance(error, shutil.Error):  # of a folder, with all of its files
        return str(error.args[0][0][-1] if isinstance(error.args[0], list) else error)
    said = str(error)
    if "is damaged" in said and said.startswith(WRITTEN):
        return f"{said}; a stage has written it: delete it and run `dvc repro`"
    return said


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those that it was raised from: a library may leave out their words.

    Not those that were being handled, as the program goes on with less where memory runs out.
    """
    while error:
        yield error
        error = error.__cause__


def last_word(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Says in one line what the program has no part in, also where a stage was still importing.

    What libraries do at the end of a process would want memory again, and is left out.
    """
    said = (str(error) or kind.__name__).splitlines()[0]
    if any(map(is_exhaustion, causes(error))):
        again = "end other programs and run the same command again: what is finished is kept"
        said = f"out of memory ({said}); {again}"
    elif isinstance(error, RuntimeError) and LOST.search(said):
        said = f"another process of this training has ended ({said})"
    else:
        sys.__excepthook__(kind, error, trace)
        return
    stage = Path(getattr(sys.modules["__main__"], "__file__", None) or sys.argv[0]).stem
    print(f"{stage}: {said}", file=sys.stderr, flush=True)
    os._exit(1)


sys.excepthook = last_word

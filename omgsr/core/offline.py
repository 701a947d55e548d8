"""Code of others that would download runs without a network: it fails at once, naming the file."""

import socket
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn
from unittest.mock import patch

from huggingface_hub import constants


class MissingFile(RuntimeError):
    """A file that is not on this machine; `file` is its address, '' where none could be found."""

    def __init__(self, file: str, reason: str) -> None:
        name = file.rpartition("/")[2] if file.startswith("http") else file
        super().__init__(f"{name or 'a weight file'} is not on this machine ({reason})")
        self.file = file


@contextmanager
def offline() -> Iterator[None]:
    """Refuses connections of this process and keeps the Hugging Face hub to its local cache.

    The hub's own switch is needed beside it: it repeats a refused request for half a minute, and
    asks the network even for a file that it holds. Raises MissingFile.
    """
    connecting = patch.object(socket.socket, "connect", _refuse)
    resolving = patch.object(socket, "getaddrinfo", _refuse)
    try:
        with connecting, resolving, patch.object(constants, "HF_HUB_OFFLINE", True):
            yield
    except OSError as error:  # of urllib, requests and the hub alike
        reason = f"{type(error).__name__}; no download is tried"
        raise MissingFile(_wanted(error), reason) from error


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise ConnectionRefusedError("network use is switched off here")


def _wanted(error: BaseException | None) -> str:
    """The address that was asked for, which only the frames of the failed call still know."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            url, repo, name = map(frame.f_locals.get, ("url", "repo_id", "filename"))
            if isinstance(url, str) and "://" in url:
                return url
            if isinstance(repo, str) and isinstance(name, str):
                return f"hf://{repo}/{name}"
        error = error.__cause__ or error.__context__
    return ""

"""A function over many items on all cores, in order."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

import cv2
import torch

T = TypeVar("T")


def ordered_map(
    function: Callable[..., T], *columns: Iterable[object], workers: int | None = None
) -> Iterator[T]:
    """Like `map`, on `workers` processes of one thread each, by default one for every core.

    `function` belongs to a module, so that its name can be sent. The first error stops the rest.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield from map(function, *columns)
        return
    # Not fork: threads of torch or OpenCV in this process would be copied half-way. The server
    # imports once, and what it forks starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start) as pool:
            yield from pool.map(function, *columns)
    except BrokenProcessPool as error:
        raise OSError(
            "a worker process was killed, perhaps for want of memory; run the same command "
            "again: what is finished is kept"
        ) from error


def _start() -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Ends this worker when the process that started it is gone, were it killed outright."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

"""A function over many items, in order, on all cores or on threads; few of them are under way."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import TypeVar

import cv2
import torch

from omgsr.core import exact

S = TypeVar("S")
T = TypeVar("T")

AHEAD = 16
"""Items a worker that are handed out before their turn; a slow one keeps none of them waiting."""


def ordered_map(
    function: Callable[..., T], *columns: Iterable[object], workers: int | None = None
) -> Iterator[T]:
    """Like `map`, on `workers` processes of one thread each, by default one for every core.

    `function` belongs to a module, so that its name can be sent. The first error stops the rest.
    Items are taken from `columns` as they are needed, so neither they nor the results pile up.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield from map(function, *columns)
        return
    # Not fork: threads of torch or OpenCV in this process would be copied half-way. The server
    # imports once, and what it forks starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["omgsr.core.worker_start", function.__module__])
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start) as pool:
            yield from _in_order(pool, function, columns, AHEAD * workers)
    except (BrokenProcessPool, EOFError) as error:  # the second where the forkserver has died
        raise OSError(
            "a worker process was killed, perhaps for want of memory; run the same command "
            "again: what is finished is kept"
        ) from error


def threaded_map(
    function: Callable[..., T],
    *columns: Iterable[object],
    workers: int = 16,
    ahead: int | None = None,
) -> Iterator[T]:
    """Like `map`, on threads of this process: for what waits for disks or releases the lock.

    `ahead` is how many items are under way at most, by default AHEAD a worker.
    """
    with ThreadPoolExecutor(workers) as pool:
        yield from _in_order(pool, function, columns, ahead or AHEAD * workers)


def side_by_side(function: Callable[[S], T], items: Sequence[S], workers: int) -> list[T]:
    """Like `map`, on `workers` threads of this process, in each of which torch has one thread.

    For networks of small images: a core that has an image of its own waits for no other. A result
    depends neither on its neighbours nor on `workers`, also where there is one item.
    """
    threads = torch.get_num_threads()
    start = partial(torch.set_num_threads, 1)
    try:
        with ThreadPoolExecutor(min(workers, len(items)), initializer=start) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)  # what threads that start later take


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch has one thread: more of them may round products of matrices otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _in_order(
    pool: Executor, function: Callable[..., T], columns: tuple[Iterable[object], ...], most: int
) -> Iterator[T]:
    """Like the pool's own map, which hands out everything at once, with `most` items at a time.

    joblib's generator limits what waits to be computed, but not the results that wait to be taken.
    """
    waiting: deque[Future[T]] = deque()
    try:
        for item in zip(*columns, strict=False):
            waiting.append(pool.submit(function, *item))
            while waiting and (len(waiting) == most or waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _start() -> None:
    exact.settle()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Ends this worker when the process that started it is gone, were it killed outright."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)

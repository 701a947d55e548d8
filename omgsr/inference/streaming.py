"""Many images through a method: decoding, computing and encoding side by side.

While the method works on one batch, threads decode the images after it and encode those before it.
What waits at any time is bounded by `AHEAD` batches, however many images there are.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omgsr.core.image_files import ImageError
from omgsr.inference.method import Method, Size
from omgsr.inference.pictures import still_image, writing
from omgsr.inference.pictures.still_image import Picture

Floats = NDArray[np.float32]
Jobs = Mapping[Path, Path]
AHEAD = 4
"""Batches that wait decoded, and as many that wait to be written."""
LARGE = 2**23
"""Pixels of a result from which on one image at a time waits."""
WRITERS = 2


@dataclass(frozen=True, kw_only=True)
class Done:
    """What became of one image."""

    source: Path
    target: Path
    size_in: Size | None = None
    size_out: Size | None = None
    seconds: float = 0.0
    """Its share of the time that the method took for its batch."""
    error: str = ""
    """Why there is no result; '' where there is one."""


@dataclass(frozen=True)
class _Work:
    """A decoded image on its way."""

    source: Path
    target: Path
    picture: Picture
    size_in: Size
    size: Size


@dataclass
class Flow:
    """Restores images by `method` and writes them.

    Images of one shape go through the method together, `batch` at a time; but for float rounding
    the result of an image does not depend on its neighbours. An image that cannot be read or
    restored is reported and the others go on; a full or unwritable disk stops everything.
    """

    method: Method
    size: Callable[[Size], Size]
    """Size of an image's result from its own, (height, width)."""
    batch: int = 1
    quality: int = 95
    """Of JPEG and WebP."""
    _groups: dict[tuple[Any, ...], list[_Work]] = field(init=False, default_factory=dict)

    def run(self, jobs: Jobs) -> Iterator[Done]:
        """Yields every image once it is on disk or has failed; in no particular order."""
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(WRITERS) as writer:
            writing: deque[Future[Done]] = deque()
            for work in self._decoded(reader, jobs):
                if isinstance(work, Done):
                    yield work
                    continue
                for group in self._collect(work):
                    writing += self._submit(writer, group)
                while len(writing) > (1 if _large(work) else AHEAD * self.batch):
                    yield writing.popleft().result()
            for group in self._groups.values():
                writing += self._submit(writer, group)
            self._groups.clear()
            while writing:
                yield writing.popleft().result()

    def _decoded(self, reader: ThreadPoolExecutor, jobs: Jobs) -> Iterator[_Work | Done]:
        waiting: deque[Future[_Work | Done]] = deque()
        ahead = 1
        for source, target in jobs.items():
            waiting.append(reader.submit(self._read, source, target))
            while len(waiting) > ahead:
                work = waiting.popleft().result()
                ahead = 1 if _large(work) else AHEAD * self.batch
                yield work
        while waiting:
            yield waiting.popleft().result()

    def _read(self, source: Path, target: Path) -> _Work | Done:
        try:
            picture = still_image.read(source)
        except ImageError as error:
            return Done(source=source, target=target, error=str(error))
        height, width = picture.colour.shape[:2]
        return _Work(source, target, picture, (height, width), self.size((height, width)))

    def _collect(self, work: _Work) -> Iterator[list[_Work]]:
        """Full batches; the oldest shape too when as many images wait as may."""
        colour = work.picture.colour
        key = (colour.shape, str(colour.dtype), work.size)
        self._groups.setdefault(key, []).append(work)
        if len(self._groups[key]) == self.batch or _large(work):
            yield self._groups.pop(key)
        elif sum(map(len, self._groups.values())) >= AHEAD * self.batch:
            yield self._groups.pop(next(iter(self._groups)))

    def _submit(self, writer: ThreadPoolExecutor, group: list[_Work]) -> list[Future[Done]]:
        """Restores a group and hands each image to a writer."""
        started, size = time.perf_counter(), group[0].size
        try:
            colours = self.method([work.picture.colour for work in group], size)
            alphas = [self._alpha(work.picture.alpha, size) for work in group]
        except (RuntimeError, MemoryError) as error:  # torch's errors; what is left of OneStep's
            if len(group) > 1:  # one of them may be at fault
                return [future for work in group for future in self._submit(writer, [work])]
            return [writer.submit(_failed, group[0], error)]
        seconds = (time.perf_counter() - started) / len(group)
        restored = zip(group, colours, alphas, strict=True)
        return [writer.submit(self._write, *one, seconds) for one in restored]

    def _alpha(self, alpha: NDArray[Any] | None, size: Size) -> Floats | None:
        """Transparency, restored as a grey picture; where it is one value, it stays that value."""
        if alpha is None:
            return None
        first = alpha.flat[0]
        if (alpha == first).all():
            return np.full(size, first / np.iinfo(alpha.dtype).max, np.float32)
        grey = np.repeat(alpha[..., None], 3, axis=2)
        return self.method([grey], size)[0].mean(axis=2)

    def _write(self, work: _Work, colour: Floats, alpha: Floats | None, seconds: float) -> Done:
        writing.write(work.target, work.picture, colour, alpha, quality=self.quality)
        return Done(
            source=work.source, target=work.target, size_in=work.size_in, size_out=work.size,
            seconds=seconds,
        )  # fmt: skip


def _large(work: _Work | Done) -> bool:
    return isinstance(work, _Work) and work.size[0] * work.size[1] >= LARGE


def _failed(work: _Work, error: BaseException) -> Done:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    height, width = work.size_in
    text = f"{work.source}: {width} x {height} could not be restored: {reason}"
    return Done(source=work.source, target=work.target, error=text)


def scaled(factor: float) -> Callable[[Size], Size]:
    """Sizes `factor` times as large, rounded to whole pixels, 1 at least."""
    return lambda size: (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))


def longest(side: int) -> Callable[[Size], Size]:
    """Sizes whose longest side is `side` pixels, of the same proportions."""
    return lambda size: scaled(side / max(size))(size)

"""Restoration of the benchmarks: thin over restore.py, which the command uses too."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omgsr.core import images
from omgsr.core.parallel import threaded_map
from omgsr.data import manifest
from omgsr.data.manifest import Row
from omgsr.inference.method import Method
from omgsr.method.generator import Generator
from omgsr.method.lora import merged

Image = NDArray[np.uint8]
WRITERS = 2
"""Threads that encode pictures."""


def merge(generator: Generator) -> Generator:
    """Adds the adapters to the weights they belong to, W + s B A, and returns the generator.

    The pictures stay the same to float rounding and take less time. For inference alone: there
    are no adapters left to train, to switch off or to save. What is merged already stays.
    """
    vae = generator.backbone.vae
    vae.encoder = merged(vae.encoder)
    generator.backbone.denoiser = merged(generator.backbone.denoiser)
    return generator


def restore_rows(
    method: Method, rows: Iterable[Row], batch: int, scale: int
) -> Iterator[tuple[Row, Image]]:
    """Restores the LQ image of every row, `batch` images of one shape at a time.

    The next images are decoded meanwhile.
    """
    groups: dict[tuple[int, ...], list[tuple[Row, Image]]] = {}
    rows = list(rows)
    for row, lq in zip(rows, threaded_map(manifest.load_lq, rows, workers=1), strict=True):
        group = groups.setdefault(lq.shape, [])
        group.append((row, lq))
        if len(group) == batch:
            yield from _restore_group(method, groups.pop(lq.shape), scale)
    for group in groups.values():
        yield from _restore_group(method, group, scale)


def _restore_group(
    method: Method, group: list[tuple[Row, Image]], scale: int
) -> Iterator[tuple[Row, Image]]:
    rows, batch = zip(*group, strict=True)
    height, width = batch[0].shape[:2]
    for row, image in zip(rows, method(batch, (height * scale, width * scale)), strict=True):
        yield row, np.rint(image * 255).astype(np.uint8)


def save_rows(restored: Iterable[tuple[Row, Image]], folder: Path) -> Iterator[str]:
    """Writes <folder>/<name>.png for every restored row, meanwhile, and yields the name."""

    def write(one: tuple[Row, Image]) -> str:
        row, image = one
        images.write_png(folder / f"{row.name}.png", image)
        return row.name

    yield from threaded_map(write, restored, workers=WRITERS)

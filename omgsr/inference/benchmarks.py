"""Restoration of the benchmarks: thin over restore.py, which the command uses too."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omgsr.core import images
from omgsr.core.parallel import threaded_map
from omgsr.data import manifest
from omgsr.data.manifest import Row
from omgsr.inference import color
from omgsr.inference.method import Method
from omgsr.inference.restore import OneStep
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


def restore(
    generator: Generator,
    image: Image,
    scale: int,
    alignment: color.Alignment = "adain",
    seed: int = 0,
) -> Image:
    """uint8 (h, w, 3) => uint8 (scale h, scale w, 3)."""
    return restore_batch(generator, [image], scale, alignment, seed)[0]


def restore_batch(
    generator: Generator,
    batch: Sequence[Image],
    scale: int,
    alignment: color.Alignment = "adain",
    seed: int = 0,
) -> list[Image]:
    """Restores images of one shape together; the result does not depend on the grouping."""
    return _restore_batch(OneStep(generator, color=alignment, seed=seed), batch, scale)


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
    restored = _restore_batch(method, [lq for _, lq in group], scale)
    for (row, _), image in zip(group, restored, strict=True):
        yield row, image


def _restore_batch(method: Method, batch: Sequence[Image], scale: int) -> list[Image]:
    height, width = batch[0].shape[:2]
    restored = method(batch, (height * scale, width * scale))
    return [np.rint(image * 255).astype(np.uint8) for image in restored]


def save_rows(restored: Iterable[tuple[Row, Image]], folder: Path) -> Iterator[str]:
    """Writes <folder>/<name>.png for every restored row, meanwhile, and yields the name."""

    def write(one: tuple[Row, Image]) -> str:
        row, image = one
        images.write_png(folder / f"{row.name}.png", image)
        return row.name

    yield from threaded_map(write, restored, workers=WRITERS)

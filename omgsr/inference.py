"""Restoration: LQ image in, HQ image of exactly `scale` times its size out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from omgsr import color, images, manifest, seeding
from omgsr.backbones.base import Rng
from omgsr.generator import Generator
from omgsr.manifest import Row

Image = NDArray[np.uint8]


def merge(generator: Generator) -> Generator:
    """Adds the adapters to the weights they belong to, W + s B A, and returns the generator.

    The pictures stay the same to float rounding and take less time. For inference alone: there
    are no adapters left to train, to switch off or to save.
    """
    vae = generator.backbone.vae
    vae.encoder = vae.encoder.merge_and_unload()
    generator.backbone.denoiser = generator.backbone.denoiser.merge_and_unload()
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


@torch.inference_mode()
def restore_batch(
    generator: Generator,
    batch: Sequence[Image],
    scale: int,
    alignment: color.Alignment = "adain",
    seed: int = 0,
) -> list[Image]:
    """Restores images of one shape together; the result does not depend on the grouping.

    The upscaled LQ images are padded by reflection to what the model takes and cropped back.
    """
    device = generator.backbone.shift.device
    x_lq = torch.stack([images.to_tensor(images.upscale(i, scale)) for i in batch]).to(device)
    rngs: Rng = [seeding.torch_rng(seed, "restore") for _ in batch]  # on every device the same
    x_sr, _ = generator(pad(x_lq, generator.backbone.multiple), rngs)
    x_sr = x_sr[..., : x_lq.shape[2], : x_lq.shape[3]].clamp(-1, 1)
    return [images.to_array(x) for x in color.align(x_sr, x_lq, alignment)]


def restore_rows(
    generator: Generator, rows: Iterable[Row], batch: int, scale: int, alignment: color.Alignment
) -> Iterator[tuple[Row, Image]]:
    """Restores the LQ image of every row, `batch` images of one shape at a time."""
    groups: dict[tuple[int, ...], list[tuple[Row, Image]]] = {}
    for row in rows:
        lq = manifest.load_lq(row)
        group = groups.setdefault(lq.shape, [])
        group.append((row, lq))
        if len(group) == batch:
            yield from _restore_group(generator, groups.pop(lq.shape), scale, alignment)
    for group in groups.values():
        yield from _restore_group(generator, group, scale, alignment)


def _restore_group(
    generator: Generator, group: list[tuple[Row, Image]], scale: int, alignment: color.Alignment
) -> Iterator[tuple[Row, Image]]:
    restored = restore_batch(generator, [lq for _, lq in group], scale, alignment)
    for (row, _), image in zip(group, restored, strict=True):
        yield row, image


def bicubic_rows(rows: Iterable[Row], scale: int) -> Iterator[tuple[Row, Image]]:
    """The baseline: Pillow's bicubic interpolation of every row's LQ image."""
    for row in rows:
        yield row, images.upscale(manifest.load_lq(row), scale)


def pad(x: Tensor, multiple: int) -> Tensor:
    """Extends bottom and right to multiples: by reflection where the image is large enough."""
    down, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    mode = "reflect" if down < x.shape[2] and right < x.shape[3] else "replicate"
    return F.pad(x, (0, right, 0, down), mode=mode)


def save_rows(restored: Iterable[tuple[Row, Image]], folder: Path) -> Iterator[str]:
    """Writes <folder>/<name>.png for every restored row and yields the name."""
    for row, image in restored:
        images.write_png(folder / f"{row.name}.png", image)
        yield row.name

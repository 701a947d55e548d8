"""LQ images for lists of HQ images: crops, degrades, writes PNGs, on all cores.

The bytes of a pair depend on the seed, its name, the preset and the HQ image; on nothing else.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product, repeat
from pathlib import Path
from typing import Any

from omgsr.core import images, seeding
from omgsr.core.fingerprint import work_name
from omgsr.core.image_files import ImageError
from omgsr.core.parallel import ordered_map
from omgsr.data import manifest
from omgsr.data.degradation import degrade, draw_mode
from omgsr.data.manifest import Row
from omgsr.data.presets import Preset
from omgsr.data.settings import Benchmark, Data

Box = tuple[int, int, int, int]
"""Top, left, height, width in pixels of the reduced HQ."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the pairs of one set are made."""

    folder: str
    """Where the LQ images belong, as their paths in the manifest shall begin."""
    preset: Preset | None
    """Degradation; null where LQ images exist, which are then cropped."""
    scale: int
    seed: int
    crop: int | None
    """Side of the crops, pixels of the HQ; null takes the whole image, cut to `scale`."""
    random: int = 0
    """Random crops an image; 0 takes a centred grid of crops that do not overlap."""
    paired: bool = True
    """Whether the pairs name their HQ."""
    enlarge: str = "bicubic"
    """`random` writes x_L in place of the LQ, enlarged in a mode that each pair draws."""
    skip_small: bool = False
    """Whether images smaller than the crop give no pair instead of an error."""


Job = tuple[Plan, Row]


def plans(
    data: Data,
    benchmarks: Mapping[str, Benchmark],
    presets: Mapping[str, Preset],
    seed: int,
    folder: str,
) -> dict[str, Plan | None]:
    """How each set is made, below `folder`; None where nothing is to be done."""

    def plan(name: str, preset: str | None, **more: Any) -> Plan:
        numbers = presets[preset] if preset else None
        lq = f"{folder}/{name}/lq"
        return Plan(folder=lq, preset=numbers, scale=data.scale, seed=seed, **more)

    more = {"enlarge": data.enlarge, "skip_small": data.too_small == "skip"}
    many = data.crops_per_image
    train = plan("train", data.degradation, crop=data.crop, random=many, **more)
    made: dict[str, Plan | None] = {"train": train}
    for name, one in benchmarks.items():
        todo = one.degradation or one.crop
        made[name] = plan(name, one.degradation, crop=one.crop, paired=one.paired) if todo else None
    return made


def make(
    jobs: Sequence[Job], work: Path, workers: int | None = None
) -> Iterator[tuple[Plan, list[Row]]]:
    """The pairs of every job, in order; PNG `folder`/x.png goes to `work`/`folder`/x.png.

    PNGs that exist in `work` are kept, so an interrupted run continues. An image that is skipped
    has no pairs.
    """
    by_job, rows = [plan for plan, _ in jobs], [row for _, row in jobs]
    made = ordered_map(make_one, by_job, rows, repeat(work), workers=workers)
    yield from zip(by_job, made, strict=True)


def make_one(plan: Plan, row: Row, work: Path) -> list[Row]:
    """The pairs of one HQ image; of a row that has its LQ already, the centre of both.

    Where all PNGs exist, only the header of the HQ is read.
    """
    if row.lq:
        whole = plan.preset is not None or plan.crop is None
        return [row if whole else _centre(plan, row, work)]
    size = manifest.hq_size(row)
    if plan.skip_small and plan.crop is not None and min(size) < plan.crop:
        return []
    pairs = [_pair(plan, row, name, box) for name, box in boxes(plan, row, size)]
    missing = [pair for pair in pairs if not (work / pair.lq).exists()]
    if missing:
        _degrade(plan, row, size, missing, work)
    return pairs


def _centre(plan: Plan, row: Row, work: Path) -> Row:
    """A pair whose LQ exists, cropped at its centre; the LQ is written, the HQ is `scale` times."""
    crop = plan.crop or 0
    (height, width), side = images.read_size(row.lq), crop // plan.scale
    if min(height, width) < side:
        what = f"the crop of {crop} pixels of the HQ needs of the LQ"
        raise _too_small(row.lq, (height, width), side, what)
    top, left = (height - side) // 2, (width - side) // 2
    lq = f"{plan.folder}/{row.name}.png"
    if not (work / lq).exists():
        pixels = images.read_rgb(row.lq)[top : top + side, left : left + side]
        images.write_png(work / lq, pixels)
    if not row.hq:
        return replace(row, lq=lq)
    top, left = top * plan.scale, left * plan.scale
    return replace(row, lq=lq, top=top, left=left, height=crop, width=crop)


def _pair(plan: Plan, row: Row, name: str, box: Box) -> Row:
    top, left, height, width = box
    pair = replace(row, name=name, top=top, left=left, height=height, width=width)
    if plan.enlarge == "random":
        pair = replace(pair, enlarged=draw_mode(seeding.rng(plan.seed, "enlarge", name)))
    return replace(pair, hq=row.hq if plan.paired else "", lq=f"{plan.folder}/{name}.png")


def _degrade(plan: Plan, row: Row, size: tuple[int, int], pairs: list[Row], work: Path) -> None:
    """Writes the LQ images of these pairs of one HQ image."""
    assert plan.preset is not None, "rows without an LQ have a degradation"
    hq = manifest.load_whole_hq(row)
    if hq.shape[:2] != size:
        raise ImageError(
            f"{row.hq}: its header says {size}, its pixels {hq.shape[:2]}; save it anew"
        )
    for pair in pairs:
        crop = hq[pair.top : pair.top + pair.height, pair.left : pair.left + pair.width]
        rng = seeding.rng(plan.seed, "degrade", pair.name)
        lq = degrade(crop, plan.preset, rng, plan.scale, pair.enlarged)
        images.write_png(work / pair.lq, lq)


def boxes(plan: Plan, row: Row, size: tuple[int, int]) -> list[tuple[str, Box]]:
    """Name and crop box of every pair of an image of `size`.

    An image smaller than the crop is an error, or is left out before (`skip_small`): enlarging it
    would pass interpolated pixels off as high quality, and padding by reflection, as the official
    code does, would train on mirrored edges.
    """
    if plan.crop is None:
        height, width = (side // plan.scale * plan.scale for side in size)
        if not height or not width:
            raise _too_small(row.hq, size, plan.scale, "one pixel of the LQ")
        return [(row.name, (0, 0, height, width))]
    if min(size) < plan.crop:
        raise _too_small(row.hq, size, plan.crop, "the crop")
    return [
        (f"{row.name}_{index:02d}", (top, left, plan.crop, plan.crop))
        for index, (top, left) in enumerate(_corners(plan, plan.crop, row.name, size))
    ]


def fingerprint(jobs: Sequence[Job]) -> str:
    """16 hex digits of all that decides the bytes of the pairs.

    An HQ image counts by its size and time of change, as reading a data set twice takes hours.
    """

    def inputs() -> Iterator[str]:
        for plan, row in jobs:
            stats = [os.stat(path) for path in (row.hq, row.lq) if path and os.path.exists(path)]
            yield f"{plan}{row}{[(s.st_size, s.st_mtime_ns) for s in stats]}"

    packages = ("opencv-python-headless", "numpy", "pillow", "torch")
    return work_name(("core", "data"), packages, inputs())


def _corners(plan: Plan, crop: int, name: str, size: tuple[int, int]) -> Iterable[Sequence[int]]:
    """(top, left) of random crops, or of a centred grid of crops that do not overlap."""
    if plan.random:
        rng, room = seeding.rng(plan.seed, "crop", name), [side - crop for side in size]
        return rng.integers((0, 0), room, (plan.random, 2), endpoint=True).tolist()
    return product(*(range(side % crop // 2, side - crop + 1, crop) for side in size))


def _too_small(path: str, size: tuple[int, int], side: int, what: str) -> ImageError:
    return ImageError(
        f"{path}: {size[0]} x {size[1]} pixels, smaller than {what} ({side} x {side}); take the "
        "image out of the set, lower the crop in configs/<profile>.yaml or, for the training set, "
        "set data.too_small: skip (`omgsr data` counts them beforehand)"
    )

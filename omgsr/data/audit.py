"""The images of every set of a configuration: counted, measured, read and compared.

Copies of an image are found by its decoded pixels, so that another name or PNG compression hides
none; an image that was resized, cropped or compressed anew counts as another one. What all of it
means is in omgsr/data/audit_report.py.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Literal

from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.core.parallel import ordered_map, threaded_map
from omgsr.data import image_set_checks, image_sets, photographs
from omgsr.data.image_set_checks import Size
from omgsr.data.settings import Benchmark, Data, Images


@dataclass(frozen=True, slots=True)
class Look:
    """What one file turned out to be."""

    size: Size | None
    """Of the upright image; None where it cannot be read."""
    trouble: str = ""
    """Why it cannot be read."""
    digest: bytes = b""
    """Of the size and the decoded pixels."""


@dataclass(kw_only=True)
class Part:
    """The HQ or the LQ images of one set, and by their names what has been found out about them."""

    set: str
    """`train` or a benchmark."""
    side: Literal["hq", "lq"]
    crop: int | None = None
    """What an image must not be smaller than, pixels."""
    files: dict[str, Path] = field(default_factory=dict)
    generated: int = 0
    """Images that have no file yet, as the data stage draws them."""
    expected: int | None = None
    """Files that are expected; None where the configuration does not say."""
    sides: dict[str, int] = field(default_factory=dict)
    """Width and height that an image must have, where the configuration says."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, one line each."""
    sizes: dict[str, Size] = field(default_factory=dict)
    """Of those that can be read."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Why it is."""
    copies: list[tuple[str, str]] = field(default_factory=list)
    """(name, name of the same pixels before it)."""
    digests: dict[bytes, str] = field(default_factory=dict)
    """Digest => first name."""

    @property
    def where(self) -> str:
        """Such as 'train.hq'."""
        return f"{self.set}.{self.side}"

    @property
    def small(self) -> list[str]:
        """Names of the images that are smaller than the crop."""
        return [name for name, size in self.sizes.items() if min(size) < (self.crop or 0)]

    def add(self, name: str, look: Look) -> None:
        """Notes what a file turned out to be."""
        if look.size is None:
            self.unreadable[name] = look.trouble
            return
        self.sizes[name] = look.size
        if look.digest:
            first = self.digests.setdefault(look.digest, name)
            if first != name:
                self.copies.append((name, first))


def parts(data: Data, benchmarks: Mapping[str, Benchmark], root: Path) -> list[Part]:
    """The images of every set, listed and counted but not opened; null paths are noted."""
    found = [_part("train", "hq", data.train, data.crop, root)]
    for name, one in benchmarks.items():
        if one.lq is not None:
            crop = one.crop and one.crop // data.scale
            found.append(_part(name, "lq", one.lq, crop, root))
        if one.hq is not None:
            found.append(_part(name, "hq", one.hq, one.crop, root))
    return found


def look(
    found: list[Part], deep: bool, workers: int | None = None
) -> Iterator[tuple[Part, str, Look]]:
    """Opens every file, in order: headers alone on threads, or all pixels on all cores (`deep`).

    What it yields is noted in the parts; nothing of an image is kept.
    """
    named = [(part, name) for part in found for name in part.files]
    paths = chain.from_iterable(part.files.values() for part in found)
    over = partial(ordered_map, workers=workers) if deep else threaded_map
    for (part, name), one in zip(named, over(measure, paths, repeat(deep)), strict=True):
        part.add(name, one)
        yield part, name, one


def measure(path: Path, deep: bool) -> Look:
    """Size from the file's header, after which no damage is seen; if `deep`, from the pixels."""
    try:
        if not deep:
            return Look(images.read_size(path))
        pixels = images.read_rgb(path)
    except ImageError as error:
        return Look(None, str(error))
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(f"{height} {width} ".encode(), digest_size=16)
    digest.update(pixels.data)
    return Look((height, width), digest=digest.digest())


def _part(
    name: str, side: Literal["hq", "lq"], source: Images, crop: int | None, root: Path
) -> Part:
    part = Part(set=name, side=side, crop=crop, generated=source.dead_leaves)
    part.files |= {photo: photographs.locate(photo) for photo in source.photographs}
    given = [folder for folder in source.folders if folder.path is not None]
    counts = [folder.expected for folder in given if folder.expected is not None]
    if given and len(counts) == len(given):
        part.expected = len(part.files) + sum(counts)
    for folder in given:
        try:
            found = image_sets.find(folder, root)
            shared = sorted(found.keys() & part.files.keys())
            if shared:
                names = f"{len(shared):,} names are taken, as {shared[0]}"
                part.problems.append(f"{folder.path}: {names}")
            part.files |= found
            part.sides |= dict.fromkeys(found, folder.side) if folder.side else {}
            image_set_checks.require_expected(folder, found.values())
        except ImageError as error:
            part.problems.append(str(error))
    return part

"""Where the images of a set come from: packaged photographs, generated images, folders."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from omgsr.core import images, seeding
from omgsr.core.image_files import ImageError
from omgsr.core.wording import some
from omgsr.data import image_lists, image_set_checks, photographs
from omgsr.data.dead_leaves import dead_leaves
from omgsr.data.image_set_checks import needed
from omgsr.data.manifest import Row
from omgsr.data.settings import Benchmark, Data, Folder, Images

TRAIN_SIDE = 256
"""Height and width of a dead-leaves image for training, pixels."""
BENCHMARK_SIDES = (128, 256)
"""Smallest and largest side of a benchmark's dead-leaves images, pixels."""
_ENDINGS = {"hq": ("_HR", "_x1"), "lq": ("_LR2", "_LR3", "_LR4", "_x2", "_x3", "_x4")}


@dataclass(kw_only=True)
class Store:
    """Folder of the PNGs of packaged and generated images; each is decoded and written once."""

    folder: Path
    """Where the PNGs go."""
    root: Path
    """Where relative folders of the configuration start."""
    seed: int
    """Root seed of the generated images."""
    written: set[str] = field(default_factory=set)
    """Names already in the folder."""

    def png(self, name: str, make: Callable[[], NDArray[np.uint8]]) -> Path:
        """Path of the PNG of that name, written on first use."""
        path = self.folder / f"{name}.png"
        if name not in self.written:
            images.write_png(path, make())
            self.written.add(name)
        return path


def manifests(
    data: Data, benchmarks: Mapping[str, Benchmark], seed: int, folder: Path, root: Path
) -> Iterator[tuple[str, list[Row]]]:
    """(set name, rows) of the training set and of every benchmark.

    Packaged and generated images are written as PNG into `folder`; images of folders stay where
    they are and are listed by absolute path. Relative folders count from `root`. A count or a size
    that is not the expected one, and a file that is trained on and tested on, are errors.
    """
    store = Store(folder=folder, root=root, seed=seed)
    train = _images(store, data.train, "train", None)
    yield "train", train
    trained = {row.hq for row in train}
    for name, benchmark in benchmarks.items():
        rows = _benchmark(store, name, benchmark, data.scale)
        image_set_checks.refuse_shared(
            trained, [path for row in rows for path in (row.hq, row.lq)], name
        )
        yield name, rows


def find(folder: Folder, root: Path) -> dict[str, Path]:
    """Name => file of the images of a folder or a list that are taken, sorted by path.

    A name is the path inside the folder without its suffix, with '__' for '/'. Files that would
    share a name (a.png and a.jpg) all keep their suffix (a.png, a.jpg).
    """
    if folder.path is None:
        raise ImageError("a folder's path is null; fill it in in configs/<profile>.yaml")
    base, inside = image_lists.files((root / Path(folder.path).expanduser()).absolute())
    # Counted over the whole folder, so that what is taken never changes the name of a file.
    shared = Counter(_flat(path.with_suffix("")) for path in inside)
    named: dict[str, Path] = {}
    for path in _named_like(folder, inside)[: folder.first]:
        name = _flat(path.with_suffix(""))
        _add(named, _flat(path) if shared[name] > 1 else name, base / path)
    return named


def match(lq: dict[str, Path], hq: dict[str, Path], where: str) -> dict[str, tuple[Path, Path]]:
    """Name => (LQ, HQ), paired by name; an image without a partner is an error.

    Where the names of the two sides differ, one ending a side is dropped first, as camera sets
    have it: `_HR` or `_x1` from HQ names, `_LR2` to `_LR4` or `_x2` to `_x4` from LQ names.
    """
    if lq.keys() != hq.keys():
        lq, hq = _stripped(lq, "lq"), _stripped(hq, "hq")
    alone = sorted(f"LQ {name}" for name in lq.keys() - hq.keys())
    alone += sorted(f"HQ {name}" for name in hq.keys() - lq.keys())
    if alone:
        raise ImageError(
            f"{where}: {len(alone)} images without a partner of the same name: {some(alone, 10)}; "
            "add the missing files or take these out"
        )
    return {name: (path, hq[name]) for name, path in lq.items()}


def _benchmark(store: Store, name: str, benchmark: Benchmark, scale: int) -> list[Row]:
    hq = _images(store, benchmark.hq, name, scale) if benchmark.hq else []
    if benchmark.lq is None:
        return hq
    lq = _images(store, benchmark.lq, name, scale)
    if not hq:
        return [Row(name=row.name, lq=row.hq) for row in lq]
    lows, highs = ({row.name: Path(row.hq) for row in rows} for rows in (lq, hq))
    pairs = match(lows, highs, f"benchmarks.{name}")
    image_set_checks.require_scale(pairs, scale, f"benchmarks.{name}")
    return [Row(name=key, hq=str(hq), lq=str(lq)) for key, (lq, hq) in pairs.items()]


def _images(store: Store, source: Images, name: str, scale: int | None) -> list[Row]:
    """Every image of a source as an HQ; `scale` None makes dead leaves for training."""
    named: dict[str, Path] = {}
    for photo in source.photographs:
        path = store.png(photo, partial(images.read_rgb, photographs.locate(photo)))
        _add(named, photo, path)
    for index in range(source.dead_leaves):
        key = f"leaves_{index:03d}"
        path = store.png(f"{name}-{key}", partial(_leaves, store.seed, name, key, scale))
        _add(named, key, path)
    sides: dict[str, int] = {}
    for folder in source.folders:
        found = find(folder, store.root)
        image_set_checks.require_expected(folder, found.values())
        image_set_checks.require_side(folder, found)
        for key, path in found.items():
            _add(named, key, path)
            sides[key] = folder.resize or 0
    return [Row(name=n, hq=str(path), resize=sides.get(n, 0)) for n, path in named.items()]


def _named_like(folder: Folder, inside: list[Path]) -> list[Path]:
    """Files whose names fit the folder's pattern."""
    if folder.names is None:
        return inside
    taken = [p for p in inside if fnmatchcase(_flat(p.with_suffix("")), folder.names)]
    if not taken:
        raise ImageError(
            f"{folder.path}: none of its {len(inside):,} images is named like {folder.names!r}; "
            f"one of them is {_flat(inside[0].with_suffix(''))!r}; correct the path, or `names`"
            + needed(folder)
        )
    return taken


def _leaves(seed: int, name: str, key: str, scale: int | None) -> NDArray[np.uint8]:
    rng = seeding.rng(seed, "dead_leaves", name, key)
    if scale is None:
        return dead_leaves(rng, TRAIN_SIDE, TRAIN_SIDE)
    low, high = BENCHMARK_SIDES
    height, width = rng.integers(low // scale, high // scale, 2, endpoint=True) * scale
    return dead_leaves(rng, int(height), int(width))


def _add(named: dict[str, Path], name: str, path: Path) -> None:
    if name in named:
        raise ImageError(
            f"two images would both be named {name!r}: {named[name]} and {path}; rename one, or "
            "give one folder above both, whose sub-folders then become part of the names"
        )
    named[name] = path


def _flat(path: Path) -> str:
    return "__".join(path.parts)


def _stripped(named: dict[str, Path], side: str) -> dict[str, Path]:
    stripped: dict[str, Path] = {}
    for name, path in named.items():
        ending = next((end for end in _ENDINGS[side] if name.endswith(end)), "")
        _add(stripped, name.removesuffix(ending), path)
    return stripped

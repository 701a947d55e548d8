"""What is wrong with the images of a configuration, from what omgsr/data/audit.py has found out."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from omgsr.core.image_files import ImageError
from omgsr.core.wording import some
from omgsr.data import image_sets
from omgsr.data.audit import Part
from omgsr.data.image_set_checks import odd_pairs, odd_sizes
from omgsr.data.settings import Data

EDGES = (0, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Where the bins of the shorter side begin, pixels."""


def problems(data: Data, benchmarks: Iterable[str], found: list[Part]) -> list[str]:
    """All that is wrong with the parts of these sets, which were looked at; one line each."""
    wrong = [f"{part.where}: {line}" for part in found for line in part.problems]
    for part in found:
        wrong += _wrong_images(part, skip=part.set == "train" and data.too_small == "skip")
    for name in benchmarks:
        wrong += _wrong_pairs([part for part in found if part.set == name], data.scale)
    wrong += _leaks(found)
    if not any(part.files or part.generated for part in found) and not wrong:
        wrong.append("nothing to check: no path of this profile is filled in")
    return wrong


def report(part: Part) -> dict[str, Any]:
    """What was found out about a part, for JSON; sizes are [height, width]."""
    ordered = sorted(part.sizes.values(), key=lambda size: (size[0] * size[1], size))
    return {
        "set": part.set,
        "side": part.side,
        "images": len(part.files),
        "generated": part.generated,
        "expected": part.expected,
        "smallest": list(ordered[0]) if ordered else None,
        "largest": list(ordered[-1]) if ordered else None,
        "shorter_side": {str(edge): count for edge, count in histogram(part).items()},
        "crop": part.crop,
        "smaller_than_crop": part.small,
        "unreadable": part.unreadable,
        "copies": [list(pair) for pair in part.copies],
    }


def histogram(part: Part) -> dict[int, int]:
    """Where a bin of the shorter side begins => images in it; empty bins are left out."""
    counts = Counter(max(e for e in EDGES if e <= min(size)) for size in part.sizes.values())
    return dict(sorted(counts.items()))


def span(edge: int) -> str:
    """A bin of the histogram, such as '512-767'; the last one is open."""
    after = [other for other in EDGES if other > edge]
    return f"{edge}-{after[0] - 1}" if after else f"{edge}-"


def _wrong_images(part: Part, skip: bool) -> list[str]:
    wrong = []
    if part.unreadable:
        wrong.append(f"{len(part.unreadable):,} unreadable: {some(list(part.unreadable), 10)}")
    if part.small and not skip:
        wrong.append(
            f"{len(part.small):,} smaller than the crop {part.crop}: {some(part.small, 10)}"
        )
    odd = odd_sizes(part.sizes, part.sides)
    if odd:
        sides = " or ".join(f"{side} x {side}" for side in sorted(set(part.sides.values())))
        wrong.append(f"{len(odd):,} of another size than {sides}: {some(odd, 10)}")
    if part.copies:
        pairs = [f"{name} of {first}" for name, first in part.copies]
        wrong.append(f"{len(pairs):,} copies of other images: {some(pairs, 10)}")
    return [f"{part.where}: {line}" for line in wrong]


def _wrong_pairs(sides: list[Part], scale: int) -> list[str]:
    """Of a benchmark that has both sides: partners that are missing or of another size."""
    if len(sides) < 2 or not all(side.files for side in sides):
        return []
    lq, hq = sides
    try:
        pairs = image_sets.match(lq.files, hq.files, f"benchmarks.{lq.set}")
    except ImageError as error:
        return [str(error)]
    sizes = {side.files[name]: size for side in sides for name, size in side.sizes.items()}
    wrong = odd_pairs(pairs, sizes, scale)
    what = f"pairs whose HQ is not {scale} times the LQ"
    return [f"{lq.set}: {len(wrong):,} {what}: {some(wrong, 10)}"] if wrong else []


def _leaks(found: list[Part]) -> list[str]:
    """Images that are trained on and tested on: the same file, or the same pixels."""
    train, wrong = found[0], []
    files = {str(path): name for name, path in train.files.items()}
    for part in found[1:]:
        same = {name: files[str(path)] for name, path in part.files.items() if str(path) in files}
        for digest, name in part.digests.items():
            if digest in train.digests:
                same.setdefault(name, train.digests[digest])
        if same:
            pairs = [f"{name} is {other}" for name, other in same.items()]
            wrong.append(f"{part.where}: {len(pairs):,} images are in train too: {some(pairs, 10)}")
    return wrong

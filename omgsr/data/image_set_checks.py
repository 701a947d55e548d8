"""What the images of a set must be: as many, as large and as new as the configuration expects."""

from collections.abc import Collection, Mapping
from pathlib import Path

from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.core.wording import some
from omgsr.data.settings import Folder

Size = tuple[int, int]
"""Height and width, pixels."""


def shown(size: Size) -> str:
    """Width x height."""
    return f"{size[1]} x {size[0]}"


def odd_sizes(sizes: Mapping[str, Size], sides: Mapping[str, int]) -> list[str]:
    """Images of another size than their width and height must be, where `sides` says."""
    return [f"{n} ({shown(s)})" for n, s in sizes.items() if n in sides and s != (sides[n],) * 2]


def odd_pairs(
    pairs: Mapping[str, tuple[Path, Path]], sizes: Mapping[Path, Size], scale: int
) -> list[str]:
    """Pairs (LQ, HQ) whose HQ is not `scale` times the LQ, where `sizes` has both."""
    wrong = []
    for name, (low, high) in pairs.items():
        if low in sizes and high in sizes:
            height, width = sizes[low]
            if sizes[high] != (height * scale, width * scale):
                wrong.append(f"{name} ({shown(sizes[low])} and {shown(sizes[high])})")
    return wrong


def require_expected(folder: Folder, found: Collection[Path]) -> None:
    """Refuses another number of images than the folder is expected to give."""
    if folder.expected is None or len(found) == folder.expected:
        return
    above = len({path.parent for path in found})
    raise ImageError(
        f"{folder.path}: got {len(found):,} images in {above:,} folder{'s' * (above > 1)}, "
        f"expected {folder.expected:,}; often an archive is not unpacked to the end (LSDIR has 85 "
        "sub-folders), or the path is one folder too deep or too high (FFHQ's 00000 is one of 70 "
        "sub-folders); correct the path, or `expected` in configs/<profile>.yaml" + needed(folder)
    )


def require_side(folder: Folder, found: Mapping[str, Path]) -> None:
    """Refuses images of another size than the folder is expected to hold."""
    if folder.side is None:
        return
    sizes = {name: images.read_size(path) for name, path in found.items()}
    odd = odd_sizes(sizes, dict.fromkeys(found, folder.side))
    if odd:
        raise ImageError(
            f"{folder.path}: {len(odd):,} of {len(found):,} images are not {folder.side} x "
            f"{folder.side} pixels: {some(odd)}; these are other images than expected, or not "
            "cropped yet (`crop` of a benchmark takes the centre); correct the path, or `side` in "
            "configs/<profile>.yaml" + needed(folder)
        )


def require_scale(pairs: Mapping[str, tuple[Path, Path]], scale: int, where: str) -> None:
    """Refuses pairs (LQ, HQ) whose HQ is not `scale` times the LQ, from the files' headers."""
    sizes = {path: images.read_size(path) for pair in pairs.values() for path in pair}
    wrong = odd_pairs(pairs, sizes, scale)
    if wrong:
        raise ImageError(
            f"{where}: {len(wrong):,} of {len(pairs):,} pairs whose HQ is not {scale} times the "
            f"LQ: {some(wrong)}; take the images of that scale (RealSR has LR2, LR3 and "
            "LR4, and in its first version LQ as large as HQ), or correct data.scale"
        )


def refuse_shared(trained: Collection[str], tested: Collection[str], name: str) -> None:
    """Refuses files that are in the training set and in the benchmark of that name."""
    shared = sorted({path for path in tested if path and path in trained})
    if shared:
        raise ImageError(
            f"benchmarks.{name}: {len(shared):,} images are also in data.train: {some(shared)}; "
            "take them out of one"
        )


def needed(folder: Folder) -> str:
    """The end of a message: what the folder should be, where the configuration says."""
    return f". Needed: {folder.obtain}" if folder.obtain else ""

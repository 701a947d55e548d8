"""Sets of images, for training and for tests: sections of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from omgsr._build import OneOf, Range
from omgsr.photographs import PHOTOGRAPHS

Count = Annotated[int, Range(1)]
PhotographName = Annotated[str, OneOf("photograph", lambda: PHOTOGRAPHS)]


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder of images on this machine; a plain text in the YAML stands for its path."""

    path: str | None
    """Absolute, or relative to the repository; null is refused until it is filled in."""
    first: Count | None = None
    """Take only the first so many images in sorted order; null takes all."""
    obtain: str = ""
    """Where the data can be had; shown while the path is null."""

    @classmethod
    def from_text(cls, text: str) -> Folder:
        """A folder that is given by its path alone."""
        return cls(path=text)


@dataclass(frozen=True, kw_only=True)
class Images:
    """Where the images of one set come from; the parts are added up."""

    photographs: tuple[PhotographName, ...] = ()
    """Names out of omgsr/photographs.py."""
    dead_leaves: Annotated[int, Range(0)] = 0
    """Number of generated dead-leaves images."""
    folders: tuple[Folder, ...] = ()
    """Folders of image files, searched at every depth."""

    def __post_init__(self) -> None:
        if not (self.photographs or self.dead_leaves or self.folders):
            raise ValueError("names no image: give photographs, dead_leaves or folders")
        if len(set(self.photographs)) < len(self.photographs):
            raise ValueError(f"photographs: each name once, got {list(self.photographs)}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Training pairs."""

    train: Images
    """The HQ images."""
    crop: Count
    """HQ side of a training pair, pixels; a multiple of `scale`."""
    crops_per_image: Count
    """Pairs made from every HQ image."""
    scale: Annotated[int, Range(1, 16)]
    """HQ side over LQ side, for training and benchmarks."""
    degradation: str
    """Name out of `degradation` in params.yaml."""

    def __post_init__(self) -> None:
        if self.crop % self.scale:
            raise ValueError(f"crop: got {self.crop}, allowed: a multiple of scale {self.scale}")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One test set: HQ images to degrade, or LQ images as they are."""

    hq: Images | None = None
    """HQ images; null for a set that exists as LQ alone."""
    lq: Images | None = None
    """LQ images that exist already; null where `degradation` makes them."""
    crop: Count | None
    """Side of the HQ crops, pixels, cut on a centred grid; null takes the whole image."""
    degradation: str | None
    """Name out of `degradation` in params.yaml; null when `lq` is given."""
    paired: bool
    """Whether the HQ image is kept as the reference of the scores."""

    def __post_init__(self) -> None:
        if self.lq is None and (self.hq is None or self.degradation is None):
            raise ValueError("give `lq`, or `hq` with the `degradation` that makes LQ from it")
        if self.lq is not None:
            if self.degradation is not None or self.crop is not None:
                raise ValueError("LQ images exist already: crop and degradation must be null")
            if any(part.photographs or part.dead_leaves for part in (self.lq, self.hq) if part):
                raise ValueError("a set with `lq` takes its images from folders alone")
            if self.paired != (self.hq is not None):
                raise ValueError("with `lq`, `paired: true` needs `hq` and `paired: false` none")

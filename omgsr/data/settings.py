"""Sets of images, for training and for tests: sections of the configuration."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from omgsr.core.settings import Count, Whole, one_of, section
from omgsr.data.photographs import PHOTOGRAPHS

PhotographName = Annotated[str, one_of("photograph", lambda: PHOTOGRAPHS)]


@section
class Folder:
    """A folder or a list of images on this machine; a plain text in the YAML stands for its path.

    A list is a .txt with a path a line, a .parquet with a column of paths or LSDIR's train.json;
    its paths are absolute or count from the folder that the list is in.
    """

    path: str | None
    """Absolute, or relative to the repository; null is refused until it is filled in."""
    names: str | None = None
    """Pattern such as '*_LR4' (shell's *, ?, [12]) of the names that are taken; null takes all. A
    name is the path inside the folder without its suffix, with '__' for '/'."""
    first: Count | None = None
    """Take only the first so many of these in sorted order; null takes all."""
    expected: Count | None = None
    """Number of images that are taken; any other is an error. Null takes what there is."""
    side: Count | None = None
    """Width and height that every image must have, pixels; null takes any."""
    resize: Count | None = None
    """Shorter side that larger images are reduced to before they are cropped, pixels, by Lanczos;
    null leaves them. The official code reduces FFHQ from 1024 to 512."""
    obtain: str = ""
    """Where the data can be had; shown while the path is null."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """A folder may be given by its path alone."""
        return {"path": value} if isinstance(value, str) else value


@section
class Images:
    """Where the images of one set come from; the parts are added up."""

    photographs: tuple[PhotographName, ...] = ()
    """Names out of omgsr/data/photographs.csv."""
    dead_leaves: Whole = 0
    """Number of generated dead-leaves images."""
    folders: tuple[Folder, ...] = ()
    """Folders of image files, searched at every depth, or lists of image files."""

    def __post_init__(self) -> None:
        if not (self.photographs or self.dead_leaves or self.folders):
            raise ValueError("names no image: give photographs, dead_leaves or folders")
        if len(set(self.photographs)) < len(self.photographs):
            raise ValueError(f"photographs: each name once, got {list(self.photographs)}")
        for index, folder in enumerate(self.folders):
            if folder.expected and folder.first and folder.expected > folder.first:
                raise ValueError(
                    f"folders[{index}].expected: got {folder.expected}, allowed: at most `first` "
                    f"({folder.first}), as it counts the images that are taken"
                )

    def check_resize(self, crop: int | None) -> None:
        """Refuses a `resize` that makes every image smaller than its crop."""
        for index, folder in enumerate(self.folders):
            if folder.resize and crop and folder.resize < crop:
                raise ValueError(
                    f"folders[{index}].resize: got {folder.resize}, allowed: at least the crop "
                    f"({crop})"
                )


@section
class Data:
    """Training pairs."""

    train: Images
    """The HQ images."""
    crop: Count
    """HQ side of a training pair, pixels; a multiple of `scale`."""
    crops_per_image: Count
    """Pairs made from every HQ image."""
    scale: Annotated[int, Field(ge=1, le=16)]
    """HQ side over LQ side, for training and benchmarks."""
    degradation: str
    """Name out of `degradation` in params.yaml."""
    enlarge: Literal["bicubic", "random"]
    """How x_L, what t* and the training see, comes from the LQ: `bicubic`, from its 8-bit file, as
    for benchmarks; `random`, before it is rounded to 8 bits, by area, bilinear or bicubic, which
    each pair draws and data/pairs/train.csv tells. The official code does the latter."""
    too_small: Literal["refuse", "skip"] = "refuse"
    """HQ images smaller than the crop: `refuse` stops at the first, `skip` leaves them out and
    counts them. The official code pads them by reflection, which is not done here."""

    def __post_init__(self) -> None:
        if self.crop % self.scale:
            raise ValueError(f"crop: got {self.crop}, allowed: a multiple of scale {self.scale}")
        self.train.check_resize(self.crop)


@section
class Benchmark:
    """One test set: HQ images to degrade, or LQ images as they are."""

    hq: Images | None = None
    """HQ images; null for a set that exists as LQ alone."""
    lq: Images | None = None
    """LQ images that exist already; null where `degradation` makes them."""
    crop: Count | None
    """Side of the HQ crops, pixels, cut on a centred grid; with `lq` one crop from the centre of
    LQ and HQ. Null takes the whole image."""
    degradation: str | None
    """Name out of `degradation` in params.yaml; null when `lq` is given."""
    paired: bool
    """Whether the HQ image is kept as the reference of the scores."""

    def __post_init__(self) -> None:
        if self.lq is None and (self.hq is None or self.degradation is None):
            raise ValueError("give `lq`, or `hq` with the `degradation` that makes LQ from it")
        if self.lq is not None:
            if self.degradation is not None:
                raise ValueError("LQ images exist already: degradation must be null")
            if any(part.photographs or part.dead_leaves for part in (self.lq, self.hq) if part):
                raise ValueError("a set with `lq` takes its images from folders alone")
            if any(f.resize for part in (self.lq, self.hq) if part for f in part.folders):
                raise ValueError("LQ images exist already: resize must be null")
            if self.paired != (self.hq is not None):
                raise ValueError("with `lq`, `paired: true` needs `hq` and `paired: false` none")
        elif self.hq is not None:
            self.hq.check_resize(self.crop)

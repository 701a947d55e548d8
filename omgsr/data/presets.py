"""The numbers of a degradation, as params.yaml gives them; each class checks its own ranges."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Annotated

from omgsr.core.build import Range

Probability = Annotated[float, Range(0, 1)]
Pair = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """Relative weights of the blur kernels' shapes; a weight of 0 leaves a shape out."""

    iso: float
    """Gaussian, equally wide in all directions."""
    aniso: float
    """Gaussian, stretched and turned."""
    generalized_iso: float
    """exp(-d^beta / 2) of the squared distance d, equally wide in all directions."""
    generalized_aniso: float
    """The same, stretched and turned."""
    plateau_iso: float
    """1 / (1 + d^beta), equally wide in all directions."""
    plateau_aniso: float
    """The same, stretched and turned."""

    def __post_init__(self) -> None:
        weights = list(vars(self).values())
        if min(weights) < 0 or not 0 < sum(weights) < inf:
            raise ValueError(f"got weights {weights}, allowed: 0 or more each, not all of them 0")


@dataclass(frozen=True, kw_only=True)
class Sinc:
    """Circular low-pass filter, which rings as over-sharpened pictures do."""

    probability: Probability
    """How often it is applied; inside a `Blur`: in place of the blur kernel."""
    cutoff: Pair
    """Cut-off frequency of small kernels, in units of pi per pixel, drawn uniformly."""
    wide_from: int
    """Kernels of this side or more take `wide_cutoff`."""
    wide_cutoff: Pair
    """Cut-off frequency of wide kernels, in units of pi per pixel, drawn uniformly."""

    def __post_init__(self) -> None:
        check_fraction("probability", self.probability)
        # basicsr's formula is singular at 0, and nothing is cut off above 1.
        check_pair("cutoff", self.cutoff, 0.01, 1)
        check_pair("wide_cutoff", self.wide_cutoff, 0.01, 1)


@dataclass(frozen=True, kw_only=True)
class Blur:
    """How one blur kernel is drawn."""

    probability: Probability
    """How often the image is blurred at all."""
    sizes: tuple[int, int]
    """Smallest and largest side of a kernel, pixels, both odd; every odd side is equally likely."""
    kinds: Kinds
    """Weights of the shapes."""
    sigma: Pair
    """Standard deviation along each axis, pixels, drawn uniformly."""
    beta_generalized: Pair
    """Exponent of the generalized Gaussian: below 1 and above 1 are equally likely."""
    beta_plateau: Pair
    """Exponent of the plateau: below 1 and above 1 are equally likely."""
    sinc: Sinc
    """The sinc filter that takes the kernel's place now and then."""

    def __post_init__(self) -> None:
        check_fraction("probability", self.probability)
        check_sizes(self.sizes)
        check_pair("sigma", self.sigma, 0.05, 100)
        for name in ("beta_generalized", "beta_plateau"):
            low, high = getattr(self, name)
            if not 0 < low <= 1 <= high <= 100:
                raise ValueError(f"{name}: got [{low}, {high}], allowed: 0 < low <= 1 <= high")


@dataclass(frozen=True, kw_only=True)
class Resize:
    """A resize by a random factor, in one of three modes at random (area, bilinear, bicubic)."""

    up: float
    """Relative weight of enlarging: factor uniform in [1, range[1]]."""
    down: float
    """Relative weight of shrinking: factor uniform in [range[0], 1]."""
    keep: float
    """Relative weight of a factor of 1."""
    range: Pair
    """Smallest and largest factor."""

    def __post_init__(self) -> None:
        weights = (self.up, self.down, self.keep)
        if min(weights) < 0 or not 0 < sum(weights) < inf:
            raise ValueError(
                f"up, down, keep: got {weights}, allowed: 0 or more, not all of them 0"
            )
        low, high = self.range
        if not 0.01 <= low <= 1 <= high <= 10:
            raise ValueError(f"range: got [{low}, {high}], allowed: 0.01 <= low <= 1 <= high <= 10")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Gaussian noise or, otherwise, Poisson noise."""

    gaussian: Probability
    """How often the noise is Gaussian."""
    sigma: Pair
    """Standard deviation of Gaussian noise, grey levels of 255, drawn uniformly."""
    poisson: Pair
    """Factor of Poisson noise, drawn uniformly."""
    grey: Probability
    """How often the noise is the same in all channels."""

    def __post_init__(self) -> None:
        check_fraction("gaussian", self.gaussian)
        check_fraction("grey", self.grey)
        check_pair("sigma", self.sigma, 0, 255)
        check_pair("poisson", self.poisson, 0, 100)


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of degradation."""

    blur: Blur
    resize: Resize
    noise: Noise
    jpeg: tuple[int, int]
    """Lowest and highest JPEG quality, 1..100, drawn uniformly."""

    def __post_init__(self) -> None:
        check_pair("jpeg", self.jpeg, 1, 100)


@dataclass(frozen=True, kw_only=True)
class Final:
    """The last sinc filter, and its place."""

    sinc: Sinc
    sizes: tuple[int, int]
    """Smallest and largest side of the sinc kernel, pixels, both odd."""
    jpeg_last: Probability
    """How often the second JPEG follows the last resize and sinc; otherwise it precedes them."""

    def __post_init__(self) -> None:
        check_sizes(self.sizes)
        check_fraction("jpeg_last", self.jpeg_last)


@dataclass(frozen=True, kw_only=True)
class Preset:
    """All numbers of a degradation."""

    usm: bool
    """Whether the HQ image is sharpened (unsharp masking) before it is degraded."""
    first: Round
    second: Round
    """Its JPEG is the one around the last resize."""
    final: Final


def check_fraction(name: str, value: float) -> None:
    """Refuses what is no probability."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name}: got {value}, allowed: 0..1")


def check_pair(name: str, pair: Pair, lowest: float, highest: float) -> None:
    """Refuses a range that is reversed or leaves lowest..highest."""
    if not lowest <= pair[0] <= pair[1] <= highest:
        raise ValueError(
            f"{name}: got {list(pair)}, allowed: [low, high], {lowest} <= low <= high <= {highest}"
        )


def check_sizes(sizes: tuple[int, int]) -> None:
    """Refuses kernel sides that are even, reversed or too large."""
    if not (1 <= sizes[0] <= sizes[1] <= 99 and sizes[0] % 2 and sizes[1] % 2):
        raise ValueError(f"sizes: got {list(sizes)}, allowed: two odd numbers, low <= high <= 99")

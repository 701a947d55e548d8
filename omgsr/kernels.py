"""Blur and sinc kernels of the Real-ESRGAN degradation, and filtering with them.

A kernel is float32 (k, k) with k odd and sums to 1. Shapes and their formulas are basicsr's; the
parameters are drawn here, because basicsr draws them from the process-wide generators.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray

from omgsr import _basicsr
from omgsr._build import Range

Image = NDArray[np.float32]
Kernel = NDArray[np.float32]
Probability = Annotated[float, Range(0, 1)]
Pair = tuple[float, float]

# Sides of the tiles that large images are filtered in: OpenCV filters with a large kernel by DFT,
# and one DFT over a whole 512 px image takes 4 times as long as those of its tiles.
_TILE = 160


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
        if min(weights) < 0 or not 0 < sum(weights) < np.inf:
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


def draw_blur(blur: Blur, rng: np.random.Generator) -> Kernel:
    """One kernel of `blur`, a sinc with `blur.sinc.probability`: float32 (k, k), sum 1."""
    side = draw_side(blur.sizes, rng)
    if rng.random() < blur.sinc.probability:
        return draw_sinc(blur.sinc, side, rng)
    weights = np.array(list(vars(blur.kinds).values()))
    kind = str(rng.choice(list(vars(blur.kinds)), p=weights / weights.sum()))
    sigma_x, sigma_y = rng.uniform(*blur.sigma, 2)
    angle = rng.uniform(-np.pi, np.pi)
    shape = {"grid": _grid(side), "isotropic": kind.split("_")[-1] == "iso"}
    if kind.startswith("generalized"):
        beta = _draw_beta(blur.beta_generalized, rng)
        kernel = _basicsr.bivariate_generalized_gaussian(
            side, sigma_x, sigma_y, angle, beta, **shape
        )
    elif kind.startswith("plateau"):
        beta = _draw_beta(blur.beta_plateau, rng)
        kernel = _basicsr.bivariate_plateau(side, sigma_x, sigma_y, angle, beta, **shape)
    else:
        kernel = _basicsr.bivariate_gaussian(side, sigma_x, sigma_y, angle, **shape)
    return np.asarray(kernel, np.float32)


def draw_sinc(sinc: Sinc, side: int, rng: np.random.Generator) -> Kernel:
    """One sinc kernel, whatever `sinc.probability` says: float32 (side, side), sum 1."""
    cutoff = rng.uniform(*(sinc.cutoff if side < sinc.wide_from else sinc.wide_cutoff))
    # The formula divides 0 by 0 at the centre and then sets the centre.
    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = _basicsr.circular_lowpass_kernel(cutoff * np.pi, side)
    return np.asarray(kernel, np.float32)


def draw_side(sizes: tuple[int, int], rng: np.random.Generator) -> int:
    """An odd side between the two, both included."""
    return int(rng.integers(sizes[0] // 2, sizes[1] // 2 + 1)) * 2 + 1


def convolve(image: Image, kernel: Kernel) -> Image:
    """Correlation with a kernel, mirrored at the edges: (H, W, 3) => (H, W, 3).

    Mirrored without repeating the edge, as `torch.nn.functional.pad` does for `reflect`.
    """
    columns, rows = kernel.sum(0), kernel.sum(1)
    if np.abs(np.outer(rows, columns) - kernel).max() < 1e-6:  # the product of its two marginals
        out = cv2.sepFilter2D(image, -1, columns, rows, borderType=cv2.BORDER_REFLECT_101)
    elif max(image.shape[:2]) <= _TILE or len(kernel) < 11:
        out = cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    else:
        out = _convolve_tiles(image, kernel)
    return np.asarray(out, np.float32)


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


def _convolve_tiles(image: Image, kernel: Kernel) -> Image:
    height, width = image.shape[:2]
    r = len(kernel) // 2
    padded = cv2.copyMakeBorder(image, r, r, r, r, cv2.BORDER_REFLECT_101)
    out = np.empty_like(image)
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            bottom, right = min(top + _TILE, height), min(left + _TILE, width)
            tile = padded[top : bottom + 2 * r, left : right + 2 * r]
            out[top:bottom, left:right] = cv2.filter2D(tile, -1, kernel)[r:-r, r:-r]
    return out


def _draw_beta(limits: Pair, rng: np.random.Generator) -> float:
    low, high = (limits[0], 1.0) if rng.random() < 0.5 else (1.0, limits[1])
    return float(rng.uniform(low, high))


@cache
def _grid(side: int) -> NDArray[np.float64]:
    grid = _basicsr.mesh_grid(side)[0]
    grid.flags.writeable = False  # shared by all kernels of this side
    return grid

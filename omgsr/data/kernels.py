"""Blur and sinc kernels of the Real-ESRGAN degradation, and filtering with them.

A kernel is float32 (k, k) with k odd and sums to 1. Shapes and their formulas are basicsr's; the
parameters are drawn here, because basicsr draws them from the process-wide generators.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from omgsr.core.basicsr_shim import degradations
from omgsr.data.presets import Blur, Pair, Sinc

Image = NDArray[np.float32]
Kernel = NDArray[np.float32]

# Sides of the tiles that large images are filtered in: OpenCV filters with a large kernel by DFT,
# and one DFT over a whole 512 px image takes 4 times as long as those of its tiles.
_TILE = 160


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
    numbers = [side, sigma_x, sigma_y, angle]
    if kind.startswith("generalized"):
        beta = _draw_beta(blur.beta_generalized, rng)
        kernel = degradations.bivariate_generalized_Gaussian(*numbers, beta, **shape)
    elif kind.startswith("plateau"):
        beta = _draw_beta(blur.beta_plateau, rng)
        kernel = degradations.bivariate_plateau(*numbers, beta, **shape)
    else:
        kernel = degradations.bivariate_Gaussian(*numbers, **shape)
    return np.asarray(kernel, np.float32)


def draw_sinc(sinc: Sinc, side: int, rng: np.random.Generator) -> Kernel:
    """One sinc kernel, whatever `sinc.probability` says: float32 (side, side), sum 1."""
    cutoff = rng.uniform(*(sinc.cutoff if side < sinc.wide_from else sinc.wide_cutoff))
    # The formula divides 0 by 0 at the centre and then sets the centre.
    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = degradations.circular_lowpass_kernel(cutoff * np.pi, side)
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
    grid = degradations.mesh_grid(side)[0]
    grid.flags.writeable = False  # shared by all kernels of this side
    return grid

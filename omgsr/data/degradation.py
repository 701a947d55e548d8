"""The second-order degradation of Real-ESRGAN (Wang et al., 2021): HQ => LQ.

    HQ -> blur -> resize -> noise -> JPEG          first round
       -> blur -> resize -> noise                  second round
       -> resize to HQ / scale and sinc, JPEG      in either order
       -> LQ

Images inside are float32 (H, W, 3) RGB with levels in [0, 255]; all randomness comes from one
generator. A preset says whether JPEG is the real codec or the differentiable imitation that the
reference has, and whether the first resize keeps the field of view or not, as there.
"""

from functools import cache

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from omgsr.core import basicsr_shim
from omgsr.core.parallel import one_thread
from omgsr.data import noise
from omgsr.data.kernels import Image, convolve, draw_blur, draw_side, draw_sinc
from omgsr.data.presets import MODES, Final, Preset, Resize, Round

_OPENCV = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
_USM_SIDE, _USM_WEIGHT, _USM_THRESHOLD = 51, 0.5, 10.0  # pixels, share, grey levels


def degrade(
    hq: NDArray[np.uint8],
    preset: Preset,
    rng: np.random.Generator,
    scale: int = 4,
    enlarge: str = "",
) -> NDArray[np.uint8]:
    """HQ => LQ by a random second-order degradation: (H, W, 3) => (H / scale, W / scale, 3).

    With `enlarge`, one of MODES, => x_L (H, W, 3): the LQ is enlarged before it is rounded.
    """
    _check(hq, scale)
    lq_size = (hq.shape[0] // scale, hq.shape[1] // scale)
    image = hq.astype(np.float32)
    if preset.usm:
        image = sharpen(image)
    compress = jpeg if preset.jpeg == "real" else diffjpeg
    image = _degrade_round(image, preset.first, hq.shape[:2], rng, preset.resize == "aligned")
    image = compress(image, rng.uniform(*preset.first.jpeg))
    image = _degrade_round(image, preset.second, lq_size, rng)
    quality = rng.uniform(*preset.second.jpeg)
    if rng.random() < preset.final.jpeg_last:
        image = compress(_finish(image, preset.final, lq_size, rng), quality)
    else:
        image = _finish(compress(image, quality), preset.final, lq_size, rng)
    return to_uint8(resize(image, hq.shape[:2], enlarge) if enlarge else image)


def draw_mode(rng: np.random.Generator) -> str:
    """One of MODES, equally likely."""
    return MODES[rng.integers(len(MODES))]


def resize(image: Image, size: tuple[int, int], mode: str) -> Image:
    """(H, W, 3) => (*size, 3) as `torch.nn.functional.interpolate`, which does not anti-alias."""
    if image.shape[:2] == size:
        return image  # every mode is the identity there
    if mode in _OPENCV:
        resized = cv2.resize(image, size[::-1], interpolation=_OPENCV[mode])
        return np.asarray(resized, np.float32)
    # OpenCV's INTER_AREA weighs the pixels at a window's edge, torch's `area` counts them in full
    # and so blurs more.
    planes = torch.from_numpy(image).permute(2, 0, 1)
    pooled = torch.nn.functional.adaptive_avg_pool2d(planes, size)
    return np.ascontiguousarray(pooled.permute(1, 2, 0).numpy())


def rescale(image: Image, factor: float, mode: str) -> Image:
    """(H, W, 3) => (int(H factor), int(W factor), 3), as `interpolate(scale_factor=factor)`.

    A pixel of the result is 1 / `factor` wide, so what is over at the far edges is cut off.
    """
    height, width = (int(side * factor) for side in image.shape[:2])
    if factor == 1 or not height or not width:
        return resize(image, (max(1, height), max(1, width)), mode)
    # OpenCV rounds the sides where torch cuts them, to one pixel more at most, and copies an image
    # whose sides stay.
    same = image.shape[:2] == tuple(round(side * factor) for side in image.shape[:2])
    if mode == "area" or same:
        planes = torch.from_numpy(image).permute(2, 0, 1)[None]
        found = torch.nn.functional.interpolate(planes, scale_factor=factor, mode=mode)[0]
        return np.ascontiguousarray(found.permute(1, 2, 0).numpy())
    scaled = cv2.resize(image, None, fx=factor, fy=factor, interpolation=_OPENCV[mode])
    return np.ascontiguousarray(scaled[:height, :width], np.float32)


def jpeg(image: Image, quality: float) -> Image:
    """Through the JPEG codec (4:2:0) at `quality` 1..100, rounded: (H, W, 3) => (H, W, 3)."""
    bgr = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    _, code = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, round(quality)])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.float32)


@torch.no_grad()
def diffjpeg(image: Image, quality: float) -> Image:
    """Through basicsr's imitation of JPEG, which rounds no pixel: (H, W, 3) => (H, W, 3)."""
    planes = torch.from_numpy(np.clip(image, 0, 255) / np.float32(255)).permute(2, 0, 1)
    with one_thread():
        decoded = _imitation()(planes[None], quality=float(quality))[0]
    return np.ascontiguousarray(decoded.permute(1, 2, 0).numpy()) * np.float32(255)


def sharpen(image: Image) -> Image:
    """Unsharp masking where it changes more than 10 grey levels: (H, W, 3) => (H, W, 3)."""
    residual = image - cv2.GaussianBlur(image, (_USM_SIDE, _USM_SIDE), 0)
    mask = (np.abs(residual) > _USM_THRESHOLD).astype(np.float32)
    mask = cv2.GaussianBlur(mask, (_USM_SIDE, _USM_SIDE), 0)
    sharp = np.clip(image + _USM_WEIGHT * residual, 0, 255)
    return mask * sharp + (1 - mask) * image


def to_uint8(image: Image) -> NDArray[np.uint8]:
    """Rounded to the nearest and clamped to 0..255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _degrade_round(
    image: Image,
    numbers: Round,
    size: tuple[int, int],
    rng: np.random.Generator,
    aligned: bool = True,
) -> Image:
    """Blur, resize relative to `size`, noise; unless `aligned`, `size` is that of the image."""
    if rng.random() < numbers.blur.probability:
        image = convolve(image, draw_blur(numbers.blur, rng))
    factor = _factor(numbers.resize, rng)
    target = (max(1, int(size[0] * factor)), max(1, int(size[1] * factor)))
    mode = draw_mode(rng)
    image = resize(image, target, mode) if aligned else rescale(image, factor, mode)
    grey = bool(rng.random() < numbers.noise.grey)
    if rng.random() < numbers.noise.gaussian:
        return noise.add_gaussian(image, rng.uniform(*numbers.noise.sigma), grey, rng)
    return noise.add_poisson(image, rng.uniform(*numbers.noise.poisson), grey, rng)


def _finish(image: Image, final: Final, size: tuple[int, int], rng: np.random.Generator) -> Image:
    """The last resize and, mostly, a sinc filter."""
    image = resize(image, size, draw_mode(rng))
    if rng.random() < final.sinc.probability:
        image = convolve(image, draw_sinc(final.sinc, draw_side(final.sizes, rng), rng))
    return image


def _factor(numbers: Resize, rng: np.random.Generator) -> float:
    draw = rng.random() * (numbers.up + numbers.down + numbers.keep)
    if draw < numbers.up:
        return float(rng.uniform(1, numbers.range[1]))
    if draw < numbers.up + numbers.down:
        return float(rng.uniform(numbers.range[0], 1))
    return 1.0


@cache
def _imitation() -> torch.nn.Module:
    codec: torch.nn.Module = basicsr_shim.module("utils.diffjpeg").DiffJPEG(differentiable=False)
    return codec


def _check(hq: NDArray[np.uint8], scale: int) -> None:
    if hq.dtype != np.uint8 or hq.ndim != 3 or hq.shape[2] != 3:
        raise ValueError(f"HQ must be uint8 (H, W, 3), got {hq.dtype} {hq.shape}")
    height, width = hq.shape[:2]
    if height % scale or width % scale or not hq.size:
        raise ValueError(
            f"HQ is {height} x {width}, allowed: multiples of the scale {scale}; crop it to "
            f"{height // scale * scale} x {width // scale * scale}"
        )

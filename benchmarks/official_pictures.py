"""What settings of `official` do to pictures and to t*: the pictures' part of official.py."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.tiling import photograph, psnr
from omgsr.core import images, seeding
from omgsr.data.degradation import degrade, draw_mode, resize
from omgsr.data.presets import Preset
from omgsr.evaluation.statistics import Interval, interval
from omgsr.method import timestep
from omgsr.method.timestep import Floats
from omgsr.models.backbones.base import Backbone, Latent

NAMES = (
    "astronaut", "chelsea", "china", "coffee", "flower", "grace_hopper", "hubble_deep_field",
    "ihc", "motorcycle_left", "retina", "rocket",
)  # fmt: skip
"""The packaged photographs in colour; those below 512 px are mirrored to it."""
SIDE, ENCODED = 512, 128
"""Sides of an HQ crop, as in `paper`, and of its middle that is encoded, pixels."""
Pictures = Mapping[str, np.ndarray]
Draw = tuple[str, int]
"""A photograph, and the number of its degradation."""

_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]).T


def photographs() -> Pictures:
    """Name => the middle of the photograph, uint8 (SIDE, SIDE, 3)."""
    return {name: photograph(name, SIDE) for name in NAMES}


def draws(pictures: Pictures, number: int) -> list[Draw]:
    """So many degradations of every photograph."""
    return [(name, index) for name in pictures for index in range(number)]


def low(pictures: Pictures, preset: Preset, draw: Draw) -> np.ndarray:
    """The LQ image; other presets with the same draw have the same random numbers."""
    return degrade(pictures[draw[0]], preset, seeding.rng(0, "degrade", *draw))


def enlarged(pictures: Pictures, preset: Preset, draw: Draw, way: str) -> np.ndarray:
    """x_L of the HQ's size, uint8; `way` is a value of data.enlarge."""
    if way == "bicubic":
        return images.upscale(low(pictures, preset, draw), 4)
    rng, mode = seeding.rng(0, "degrade", *draw), draw_mode(seeding.rng(0, "enlarge", *draw))
    return degrade(pictures[draw[0]], preset, rng, 4, mode)


def roughness(lq: np.ndarray) -> float:
    """Mean step of chroma between neighbours, grey levels."""
    chroma = lq.astype(np.float64) @ _CHROMA
    return float(np.mean([np.abs(np.diff(chroma, axis=axis)).mean() for axis in (0, 1)]))


def change_of_lq(
    pictures: Pictures, first: Preset, second: Preset, number: int
) -> tuple[Interval, Interval]:
    """From `first` to `second`: chroma roughness of the LQ in %, its PSNR in dB.

    PSNR is that beside the HQ reduced by area.
    """
    clean = {n: resize(x.astype(np.float32), _quarter(x), "area") for n, x in pictures.items()}
    rough, near = list[float](), list[float]()
    for draw in draws(pictures, number):
        one, two = (low(pictures, preset, draw) for preset in (first, second))
        rough.append(100 * (roughness(two) / roughness(one) - 1))
        near.append(_psnr(two, clean[draw[0]]) - _psnr(one, clean[draw[0]]))
    groups = [name for name, _ in draws(pictures, number)]
    return interval(rough, groups=groups), interval(near, groups=groups)


def change_of_x_lq(pictures: Pictures, preset: Preset, number: int) -> Interval:
    """PSNR of x_L beside the HQ in dB: `random` less `bicubic`."""
    found, groups = list[float](), list[str]()
    for draw in draws(pictures, number):
        hq = pictures[draw[0]]
        one, two = (_psnr(enlarged(pictures, preset, draw, way), hq) for way in _WAYS)
        found.append(two - one)
        groups.append(draw[0])
    return interval(found, groups=groups)


@torch.inference_mode()
def moments(
    backbone: Backbone, pictures: Pictures, preset: Preset, number: int,
    enlarge: str = "bicubic", latent: Latent = "mode",
) -> tuple[Floats, Floats]:  # fmt: skip
    """P and N of the middle of every crop (Eq. 5): (pairs,) twice."""
    found = []
    for draw, z_lq in _latents(backbone, pictures, preset, number, enlarge, latent):
        z_hq = encode(backbone, pictures[draw[0]], latent, "hq", *draw)
        found.append(torch.cat(timestep.moments(z_hq, z_lq)))
    power, error = torch.stack(found).numpy().T
    return power, error


def of_batches(power: Floats, error: Floats, snr: Floats, size: int) -> int:
    """t* where P and N are means over batches of so many unlike images, as the released code's."""
    return timestep.best(*(x.reshape(size, -1).mean(0) for x in (power, error)), snr)


@torch.inference_mode()
def sampling_noise(
    backbone: Backbone, pictures: Pictures, preset: Preset, number: int
) -> Interval:  # fmt: skip
    """|sample - mode| / |mode| of z_L, in %."""
    found, groups = list[float](), list[str]()
    for draw, mode in _latents(backbone, pictures, preset, number, "bicubic", "mode"):
        x_lq = enlarged(pictures, preset, draw, "bicubic")
        noise = encode(backbone, x_lq, "sample", "lq", *draw) - mode
        found.append(100 * float(noise.norm() / mode.norm()))
        groups.append(draw[0])
    return interval(found, groups=groups)


def encode(backbone: Backbone, image: np.ndarray, latent: Latent, *names: str | int) -> Tensor:
    """The latent of the middle of an image: (H, W, 3) => (1, C, h, w)."""
    return backbone.encode(middle(image, ENCODED), latent, [seeding.torch_rng(0, *names)])


def middle(image: np.ndarray, side: int) -> Tensor:
    """(H, W, 3) uint8 => (1, 3, side, side) in [-1, 1]."""
    top, left = (max(length - side, 0) // 2 for length in image.shape[:2])
    return images.to_tensor(image[top : top + side, left : left + side])[None]


def _latents(
    backbone: Backbone, pictures: Pictures, preset: Preset, number: int, enlarge: str,
    latent: Latent,
) -> Iterator[tuple[Draw, Tensor]]:  # fmt: skip
    for draw in draws(pictures, number):
        x_lq = enlarged(pictures, preset, draw, enlarge)
        yield draw, encode(backbone, x_lq, latent, "lq", *draw)


_WAYS = ("bicubic", "random")


def _quarter(image: np.ndarray) -> tuple[int, int]:
    return image.shape[0] // 4, image.shape[1] // 4


def _psnr(image: np.ndarray, other: np.ndarray) -> float:
    return psnr(image.astype(np.float64) / 255, other.astype(np.float64) / 255)

"""Speed of the degradation beside a plain composition of basicsr's own functions.

    python -m benchmarks.degradation [seconds for each size and preset]

The two take turns image by image in the same processes, one single-threaded process a core, so
whatever else the machine does slows both. The bar: 3 times the images per second, with the real
codec; DiffJPEG is basicsr's own on both sides.
"""

import os
import random
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
import torch
from skimage import data

from omgsr import config
from omgsr.core import basicsr_shim, seeding
from omgsr.core.parallel import ordered_map
from omgsr.data.degradation import degrade
from omgsr.data.presets import MODES, Blur, Noise, Preset, Resize, Sinc

SIDES = (96, 192, 512)
"""HQ sides, pixels: the training pairs and benchmarks of `mini`, and the paper's crops."""
BAR = 3.0
Codec = Callable[[torch.Tensor, float], torch.Tensor]

_degradations = basicsr_shim.module("data.degradations")
_filters = basicsr_shim.module("utils.img_process_util")
_diffjpeg = basicsr_shim.module("utils.diffjpeg").DiffJPEG(differentiable=False)
_usm = _filters.USMSharp()


def diffjpeg(image: torch.Tensor, quality: float) -> torch.Tensor:
    """JPEG as basicsr imitates it: (1, 3, H, W) in [0, 1] => the same."""
    return _diffjpeg(image, quality=quality)


@torch.no_grad()
def reference(
    hq: np.ndarray, preset: Preset, scale: int = 4, codec: Codec = diffjpeg
) -> np.ndarray:
    """Real-ESRGAN as its functions in basicsr compose it, on a batch of one; global randomness."""
    size = (hq.shape[0] // scale, hq.shape[1] // scale)
    image = torch.from_numpy(hq).permute(2, 0, 1)[None].float() / 255
    if preset.usm:
        image = _usm(image)
    first, second, final = preset.first, preset.second, preset.final
    image = _blur(image, first.blur)
    factor = _factor(first.resize)
    image = _interpolate(image, scale_factor=factor)
    image = _jpeg(_noise(image, first.noise), first.jpeg, codec)
    image = _blur(image, second.blur)
    factor = _factor(second.resize)
    image = _interpolate(image, size=(int(size[0] * factor), int(size[1] * factor)))
    image = _noise(image, second.noise)
    if np.random.uniform() < final.jpeg_last:  # noqa: NPY002
        image = _sinc(_interpolate(image, size=size), final.sinc, final.sizes)
        image = _jpeg(image, second.jpeg, codec)
    else:
        image = _jpeg(image, second.jpeg, codec)
        image = _sinc(_interpolate(image, size=size), final.sinc, final.sizes)
    return (image[0].permute(1, 2, 0) * 255).round().clamp(0, 255).byte().numpy()


def seed_everything(seed: int) -> None:
    """The three process-wide generators that basicsr draws from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def _blur(image: torch.Tensor, blur: Blur) -> torch.Tensor:
    if np.random.uniform() >= blur.probability:  # noqa: NPY002
        return image
    side = random.choice(range(blur.sizes[0], blur.sizes[1] + 1, 2))
    if np.random.uniform() < blur.sinc.probability:  # noqa: NPY002
        kernel = _sinc_kernel(blur.sinc, side)
    else:
        kernel = _degradations.random_mixed_kernels(
            list(vars(blur.kinds)), list(vars(blur.kinds).values()), side, blur.sigma, blur.sigma,
            [-np.pi, np.pi], blur.beta_generalized, blur.beta_plateau,
        )  # fmt: skip
    pad = (blur.sizes[1] - side) // 2  # as Real-ESRGAN's loader does, to batch kernels of any side
    return _filters.filter2D(image, torch.FloatTensor(np.pad(kernel, pad))[None])


def _sinc(image: torch.Tensor, sinc: Sinc, sizes: tuple[int, int]) -> torch.Tensor:
    kernel = np.zeros((sizes[1], sizes[1]))
    kernel[sizes[1] // 2, sizes[1] // 2] = 1
    if np.random.uniform() < sinc.probability:  # noqa: NPY002
        side = random.choice(range(sizes[0], sizes[1] + 1, 2))
        kernel = np.pad(_sinc_kernel(sinc, side), (sizes[1] - side) // 2)
    return _filters.filter2D(image, torch.FloatTensor(kernel)[None])


def _sinc_kernel(sinc: Sinc, side: int) -> np.ndarray:
    limits = sinc.cutoff if side < sinc.wide_from else sinc.wide_cutoff
    with np.errstate(divide="ignore", invalid="ignore"):
        cutoff = np.random.uniform(*limits) * np.pi  # noqa: NPY002
        return _degradations.circular_lowpass_kernel(cutoff, side)


def _factor(resize: Resize) -> float:
    kind = random.choices(("up", "down", "keep"), (resize.up, resize.down, resize.keep))[0]
    low, high = {"up": (1, resize.range[1]), "down": (resize.range[0], 1), "keep": (1, 1)}[kind]
    return float(np.random.uniform(low, high))  # noqa: NPY002


def _interpolate(image: torch.Tensor, **size: object) -> torch.Tensor:
    return torch.nn.functional.interpolate(image, mode=random.choice(MODES), **size)


def _noise(image: torch.Tensor, noise: Noise) -> torch.Tensor:
    if np.random.uniform() < noise.gaussian:  # noqa: NPY002
        return _degradations.random_add_gaussian_noise_pt(image, noise.sigma, noise.grey)
    return _degradations.random_add_poisson_noise_pt(image, noise.poisson, noise.grey)


def _jpeg(image: torch.Tensor, limits: tuple[int, int], codec: Codec) -> torch.Tensor:
    return codec(image.clamp(0, 1), float(torch.empty(1).uniform_(*limits)))


def race(preset: Preset, side: int, worker: int, seconds: float) -> tuple[int, float, float]:
    """Images made, seconds of ours, seconds of the reference."""
    photograph = cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_AREA)
    seed_everything(worker)
    count, spent = -3, [0.0, 0.0]  # the first three warm up
    while sum(spent) < seconds:
        rng = seeding.rng(worker, count + 3)
        start = time.perf_counter()
        degrade(photograph, preset, rng)
        middle = time.perf_counter()
        reference(photograph, preset)
        count += 1
        if count > 0:
            spent[0] += middle - start
            spent[1] += time.perf_counter() - middle
    return count, spent[0], spent[1]


def main(seconds: float) -> None:
    """Prints the table; fails below the bar."""
    cores = len(os.sched_getaffinity(0))
    worst = np.inf
    print(f"{cores} processes of one thread; load of the machine before: {os.getloadavg()[0]:.1f}")
    print("preset      HQ side    images   ours, /s   basicsr, /s   ratio")
    for name, preset in config.load(ready=False).degradation.items():
        for side in SIDES:
            workers = range(cores)
            columns = ([preset] * cores, [side] * cores, workers, [seconds] * cores)
            made = list(ordered_map(race, *columns, workers=cores))
            ours, theirs = (sum(one[0] / one[i] for one in made) for i in (1, 2))
            count = sum(one[0] for one in made)
            worst = min(worst, ours / theirs) if preset.jpeg == "real" else worst
            print(f"{name:12}{side:6}{count:10}{ours:11.0f}{theirs:14.1f}{ours / theirs:8.1f}")
    if worst < BAR:
        sys.exit(f"the slowest ratio is {worst:.1f}, the bar is {BAR}")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)

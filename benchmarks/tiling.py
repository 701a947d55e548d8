"""Tiles beside the whole image, seams, and a large picture in little memory, on the CPU.

    python -m benchmarks.tiling [--model DIR --foundation DIR] [--side 1024] [--large 4096] [--vae]

Photographs that packages carry are restored by the mini model: that of a run, or the shipped
foundation with fresh adapters. First whole and by tiles, which says how far tiles are from the
whole (PSNR) and whether their borders show: `seam` is the mean gradient across the borders of tiles
over that elsewhere, divided by the same of the whole picture, so 1 is no seam; `error` is the same
of the difference of the two pictures, which is strict, as it is about differences that nobody
sees. Then one large picture in a process of its own, whose peak of memory and time are told, and
what the networks take for each pixel, which memory_budget.py counts with; `--vae` measures the
full-size VAE of Stable Diffusion too. The bars, at an overlap of a quarter tile: 45 dB and a seam
of at most 1.02; and 4 GiB.
"""

import argparse
import math
import multiprocessing
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from omgsr import config
from omgsr.core import images
from omgsr.data import photographs
from omgsr.inference import benchmarks, memory_budget
from omgsr.inference.restore import OneStep
from omgsr.inference.tiling import starts
from omgsr.method import run_card
from omgsr.method.generator import Generator
from omgsr.models import foundation
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import decoder_width

NAMES = ("coffee", "rocket")
DB, SEAM, GIB = 45.0, 1.02, 4.0
"""The bars."""
TIMESTEP = 162
"""Of the foundation alone, about the t* of configs/mini.yaml."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was measured; 1 below a bar."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tiling", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--model", type=Path, help="model folder of a run")
    parser.add_argument("--foundation", type=Path, help="foundation of that run")
    parser.add_argument("--side", type=int, default=1024, help="of the whole picture")
    parser.add_argument("--large", type=int, default=4096, help="of the large picture; 0: none")
    parser.add_argument("--vae", action="store_true", help="measure SD's VAE too: 4 minutes")
    given = parser.parse_args(arguments)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    failed = agreement(generator(given.model, given.foundation), given.side)
    if given.large:
        failed += large(given)
    footprints(given)
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def generator(model: Path | None, folder: Path | None) -> Generator:
    """The run's, or the shipped foundation with adapters that change nothing; merged."""
    if model is not None:
        return benchmarks.merge(run_card.load(model, folder or Path("foundation"))[0])
    with tempfile.TemporaryDirectory() as made:
        foundation.ship(Path(made), config.load(profile="mini").foundation)
        return Generator(from_folder.load(Path(made)), TIMESTEP).requires_grad_(False)


def photograph(name: str, side: int) -> np.ndarray:
    """The middle of a photograph, or of several of it side by side where it is smaller."""
    whole = images.read_rgb(photographs.locate(name))
    while min(whole.shape[:2]) < side:  # mirrored, so that it goes on smoothly
        whole = np.concatenate([whole, whole[:, ::-1]], 1)
        whole = np.concatenate([whole, whole[::-1]], 0)
    top, left = ((length - side) // 2 for length in whole.shape[:2])
    return whole[top : top + side, left : left + side]


def agreement(model: Generator, side: int) -> list[str]:
    """The table of tiles beside the whole; a line for every bar that is missed."""
    failed = []
    print("picture   view   tile  overlap     PSNR   seam  error   seconds")
    for name in NAMES:
        lq = photograph(name, side // 4)
        whole, seconds = _timed(OneStep(model, tile=side), lq, side)
        print(f"{name:9} whole                                {seconds:9.1f}", flush=True)
        for view, tile, part in _cases(side):
            overlap = int(tile * part)
            method = OneStep(model, tile=tile, overlap=overlap, view=view)
            picture, seconds = _timed(method, lq, side)
            near, error = psnr(picture, whole), seam(picture - whole, tile, overlap)
            step = seam(picture, tile, overlap, beside=whole)
            columns = f"{near:9.1f}{step:7.3f}{error:7.2f}{seconds:10.1f}"
            print(f"{name:9} {view:6}{tile:5}{overlap:9}{columns}", flush=True)
            if view == "image" and part == 0.25 and (near < DB or step > SEAM):
                failed.append(f"{name}, tiles of {tile}: {near:.1f} dB, seam {step:.3f}")
    return failed


def _cases(side: int) -> list[tuple[Any, int, float]]:
    parts = (0.0, 0.125, 0.25, 0.5)
    tiles = (side // 8, side // 4)
    return [(view, tile, p) for view in ("tile", "image") for tile in tiles for p in parts]


def _timed(method: OneStep, lq: np.ndarray, side: int) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    return method([lq], (side, side))[0], time.perf_counter() - start


def psnr(picture: np.ndarray, other: np.ndarray) -> float:
    """Of values in 0..1, dB."""
    error = float(np.square(picture.astype(np.float64) - other).mean())
    return -10 * math.log10(error) if error else math.inf


def seam(picture: np.ndarray, tile: int, overlap: int, beside: np.ndarray | None = None) -> float:
    """Mean gradient of (H, W, 3) across the borders of tiles over that elsewhere, the worse axis.

    Divided by the same of the picture `beside`, which has no tiles, if there is one.
    """
    ratios = []
    for axis in (0, 1):
        begins = starts(picture.shape[axis], tile, overlap, 8)
        borders = {b for start in begins for b in (start, start + tile)}
        at = np.array([b - 1 for b in sorted(borders) if 0 < b < picture.shape[axis]])
        ratios.append(
            _across(picture, axis, at) / (1.0 if beside is None else _across(beside, axis, at))
        )
    return max(ratios)


def _across(picture: np.ndarray, axis: int, at: np.ndarray) -> float:
    steps = np.abs(np.diff(picture, axis=axis)).mean((1 - axis, 2))
    return float(steps[at].mean() / np.delete(steps, at).mean())


def large(given: argparse.Namespace) -> list[str]:
    """One large picture in a process of its own."""
    seconds, peak, tile, notes = _alone(restore_large, given.model, given.foundation, given.large)
    print(
        f"{given.large} x {given.large}: {seconds:.0f} s, peak {peak:.2f} GiB of the whole "
        f"process, tiles of {tile}, notes {notes}",
        flush=True,
    )
    return [f"{peak:.2f} GiB, the bar is {GIB}"] if peak > GIB else []


def restore_large(
    model: Path | None, folder: Path | None, side: int
) -> tuple[float, float, int | None, list[str]]:
    """Seconds, peak GiB of this process, tile, notes."""
    method = OneStep(generator(model, folder))
    picture, seconds = _timed(method, photograph("retina", side // 4), side)
    assert picture.shape == (side, side, 3)
    assert np.isfinite(picture).all()
    return seconds, _peak() / 2**30, method.tile_used, method.notes


def footprints(given: argparse.Namespace) -> None:
    """Bytes that networks take for a pixel of the image, beside what memory_budget.py says."""
    cases: dict[str, tuple[Callable[[], Any], tuple[int, int]]] = {"mini": (_mini, (512, 1024))}
    if given.vae:
        cases["sd vae"] = (sd_vae, (256, 512))
    for name, (make, sides) in cases.items():
        width = decoder_width(make().config)
        said = memory_budget.bytes_per_pixel(width, torch.float32)
        peaks = [_alone(footprint, make, side) for side in sides]
        slope = (peaks[1] - peaks[0]) / (sides[1] ** 2 - sides[0] ** 2)
        print(f"{name}: {slope:.0f} bytes a pixel in fp32, memory_budget.py counts {said}")


def footprint(make: Callable[[], Any], side: int) -> int:
    """Peak bytes of this process that decodes, and encodes, one image of `side`."""
    vae = make()
    with torch.inference_mode():
        z = vae.encode(torch.zeros(1, 3, side, side)).latent_dist.mode()
        vae.decode(z)
    return _peak()


def _mini() -> Any:
    return generator(None, None).backbone.vae


def sd_vae() -> Any:
    """The VAE of Stable Diffusion with random weights."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
    ).eval()  # fmt: skip


def _peak() -> int:
    """Bytes of memory that this process has held at most."""
    try:  # ru_maxrss begins with the parent's, where a process was forked from a large one
        said = Path("/proc/self/status").read_text(encoding="ascii")
        return int(re.search(r"^VmHWM:\s+(\d+) kB$", said, re.MULTILINE)[1]) * 1024
    except (OSError, TypeError):
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _alone(function: Callable[..., Any], *values: Any) -> Any:
    """The function in a fresh process, whose peak of memory is its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *values).result()


if __name__ == "__main__":
    sys.exit(main())

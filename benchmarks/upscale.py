"""Images a second of `omgsr upscale`'s flow against a plain loop, in one run, on the mini model.

    python -m benchmarks.upscale [--images 100] [--side 128] [--batch 4]

The plain loop loads, restores and saves one image after the other in fp32, with the adapters beside
the weights, as the field's scripts do. All restore the same random photograph crops at scale 4. The
bar is 2 times the plain loop's images a second; how near bf16 comes to the plain loop's pictures is
printed beside its speed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from omgsr import config
from omgsr.core import images
from omgsr.data import photographs
from omgsr.inference import color, streaming
from omgsr.inference.benchmarks import merge
from omgsr.inference.precision import Precision
from omgsr.inference.restore import OneStep
from omgsr.method.generator import Generator
from omgsr.models import foundation
from omgsr.models.backbones import from_folder

BAR = 2.0
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
ROUND = 8
"""Images after which the next loop has its turn."""
Jobs = dict[Path, Path]
Loop = Callable[[Jobs], None]
Pictures = list[NDArray[np.uint8]]


def main() -> None:
    """The plain loop and the flow in both precisions, in turns."""
    kind = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        foundation.ship(root / "foundation", config.load().foundation)
        jobs = write(root, given.images, given.side)
        threads = torch.get_num_threads()
        loops: dict[str, Loop] = {"plain loop": partial(plain_loop, generator(root))}
        for dtype in PRECISIONS:
            method = OneStep(merge(generator(root)), dtype=dtype, workers=threads)
            loops[dtype] = partial(stream, streaming.Flow(method, streaming.scaled(4), given.batch))
        seconds, pictures = race(loops, jobs)
    print(f"{given.images} images of {given.side} px, {threads} threads, batch {given.batch}")
    slow = seconds["plain loop"]
    print(f"plain loop: {given.images / slow:.3f} images/s")
    for dtype in PRECISIONS:
        ratio, near = slow / seconds[dtype], psnr(pictures[dtype], pictures["plain loop"])
        print(
            f"flow, {dtype}: {given.images / seconds[dtype]:.3f} images/s, ratio {ratio:.2f}, bar "
            f"{BAR}: {'reached' if ratio >= BAR else 'NOT reached'}; {near:.1f} dB to the plain "
            "loop's pictures"
        )


def race(loops: dict[str, Loop], jobs: Jobs) -> tuple[dict[str, float], dict[str, Pictures]]:
    """Seconds and pictures of every loop; in turns, so that what else runs slows them alike."""
    seconds, pictures = dict.fromkeys(loops, 0.0), {name: Pictures() for name in loops}
    for loop in loops.values():  # warm
        loop(dict(list(jobs.items())[:4]))
    for first in range(0, len(jobs), ROUND):
        part = dict(list(jobs.items())[first : first + ROUND])
        for name, loop in loops.items():
            started = time.perf_counter()
            loop(part)
            seconds[name] += time.perf_counter() - started
            pictures[name] += [images.read_rgb(target) for target in part.values()]
    return seconds, pictures


def stream(work: streaming.Flow, jobs: Jobs) -> None:
    """The command's way."""
    list(work.run(jobs))


def psnr(some: Pictures, others: Pictures) -> float:
    """Decibels between pictures of 8 bits, mean over the pairs."""
    pairs = zip(some, others, strict=True)
    errors = [np.square(a.astype(np.float64) - b).mean() for a, b in pairs]
    return statistics.fmean(10 * np.log10(255**2 / max(error, 1e-9)) for error in errors)


def write(root: Path, count: int, side: int) -> Jobs:
    """Crops of a photograph as PNG => where their results go."""
    photo, jobs = images.read_rgb(photographs.locate("chelsea")), Jobs()
    rng = np.random.default_rng(0)
    for i in range(count):
        top, left = (int(rng.integers(size - side)) for size in photo.shape[:2])
        images.write_png(root / "in" / f"{i}.png", photo[top : top + side, left : left + side])
        jobs[root / "in" / f"{i}.png"] = root / "out" / f"{i}.png"
    return jobs


def generator(root: Path) -> Generator:
    """The mini model with fresh adapters, which compute although they change nothing yet."""
    made = Generator(from_folder.load(root / "foundation"), 162)
    made.add_adapters(16, 32, seed=0)
    return made.requires_grad_(False).eval()


@torch.inference_mode()
def plain_loop(model: Generator, jobs: Jobs) -> None:
    """One image after the other."""
    for source, target in jobs.items():
        lq = images.upscale(images.read_rgb(source), 4)
        x_lq = images.to_tensor(lq)[None]
        x_sr, _ = model(x_lq)
        restored: Any = color.adain(x_sr.clamp(-1, 1), x_lq)
        images.write_png(target, images.to_array(restored[0]))


if __name__ == "__main__":
    main()

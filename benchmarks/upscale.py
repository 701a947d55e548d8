"""Images a second of `omgsr upscale`'s flow against a plain loop, in one run, on the mini model.

    python -m benchmarks.upscale [--images 100] [--side 128] [--batch 4] [--dtype fp32]

The plain loop loads, restores and saves one image after the other, with the adapters beside the
weights, as the field's scripts do. Both restore the same random photograph crops at scale 4. The
bar is 2 times the plain loop's images a second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omgsr import backbones, color, config, flow, foundation, images, photographs
from omgsr.generator import Generator
from omgsr.inference import merge
from omgsr.restoring import OneStep

BAR = 2.0


def main() -> None:
    """Both loops, the shorter first so that neither has warmer caches than it would have."""
    kind = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=kind)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        foundation.ship(root / "foundation", config.load().foundation)
        jobs = write(root, given.images, given.side)
        warm = dict(list(jobs.items())[: given.batch])
        ours, plain = OneStep(merge(generator(root)), dtype=given.dtype), generator(root)
        list(flow.Flow(ours, flow.scaled(4), given.batch).run(warm))
        plain_loop(plain, dict(list(jobs.items())[:1]))
        fast = timed(lambda: list(flow.Flow(ours, flow.scaled(4), given.batch).run(jobs)))
        slow = timed(lambda: plain_loop(plain, jobs))
    ratio = slow / fast
    print(f"{given.images} images of {given.side} px, {torch.get_num_threads()} threads")
    print(f"flow, batch {given.batch}, {given.dtype}: {given.images / fast:.3f} images/s")
    print(f"plain loop: {given.images / slow:.3f} images/s")
    print(f"ratio {ratio:.2f}, bar {BAR}: {'reached' if ratio >= BAR else 'NOT reached'}")


def write(root: Path, count: int, side: int) -> dict[Path, Path]:
    """Crops of a photograph as PNG => where their results go."""
    photo, jobs = images.read_rgb(photographs.locate("chelsea")), {}
    rng = np.random.default_rng(0)
    for i in range(count):
        top, left = (int(rng.integers(size - side)) for size in photo.shape[:2])
        images.write_png(root / "in" / f"{i}.png", photo[top : top + side, left : left + side])
        jobs[root / "in" / f"{i}.png"] = root / "out" / f"{i}.png"
    return jobs


def generator(root: Path) -> Generator:
    """The mini model with fresh adapters, which compute although they change nothing yet."""
    made = Generator(backbones.load(root / "foundation"), 162)
    made.add_adapters(16, 32, seed=0)
    return made.requires_grad_(False).eval()


@torch.inference_mode()
def plain_loop(model: Generator, jobs: dict[Path, Path]) -> None:
    """One image after the other."""
    for source, target in jobs.items():
        lq = images.upscale(images.read_rgb(source), 4)
        x_lq = images.to_tensor(lq)[None]
        x_sr, _ = model(x_lq)
        restored: Any = color.adain(x_sr.clamp(-1, 1), x_lq)
        images.write_png(target, images.to_array(restored[0]))


def timed(work: Any) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()

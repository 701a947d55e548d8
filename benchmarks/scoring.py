"""Images a second that are scored, beside one metric after another in a plain loop.

    python -m benchmarks.scoring [--images 100] [--rounds 3]

Both sides run in one process, in turns, on the same images in the same files: bicubic x4 of
RealSR's test set against its HR where OMGSR_REAL_DATA names the real images, else the shipped
photographs in crops of 512. The plain side is what a user of PyIQA writes: for each metric, for
each image, read both and call it, with torch's own number of threads. The scores must agree.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from omgsr.core import images
from omgsr.data import manifest, photographs
from omgsr.evaluation import metrics, scoring

NAMES = ("psnr", "ssim", "niqe")


def real(folder: Path, out: Path, count: int) -> list[manifest.Row]:
    """Bicubic x4 of RealSR's LR => its rows."""
    rows = []
    for path in sorted((folder / "realsr/test_LR").glob("*.png"))[:count]:
        images.write_png(out / path.name, images.upscale(images.read_rgb(path), 4))
        rows.append(manifest.Row(name=path.stem, hq=str(folder / "realsr/test_HR" / path.name)))
    return rows


def shipped(out: Path, count: int) -> list[manifest.Row]:
    """Crops of 512 of the packages' photographs, and what bicubic makes of them at a quarter."""
    rows: list[manifest.Row] = []
    for name in photographs.PHOTOGRAPHS:
        whole = images.read_rgb(photographs.locate(name))
        for top in range(0, whole.shape[0] - 511, 128):
            for left in range(0, whole.shape[1] - 511, 128):
                if len(rows) == count:
                    return rows
                hq = np.ascontiguousarray(whole[top : top + 512, left : left + 512])
                lq = np.array(Image.fromarray(hq).resize((128, 128), Image.Resampling.BICUBIC))
                file = f"{name}-{top}-{left}.png"
                images.write_png(Path(f"{out}-hq", file), hq)
                images.write_png(out / file, images.upscale(lq, 4))
                rows.append(manifest.Row(name=file[:-4], hq=f"{out}-hq/{file}"))
    return rows


def plain(loaded: list[metrics.Metric], items: list[scoring.Item]) -> list[dict[str, float]]:
    """One metric after the other, one image after the other, by PyIQA's model alone."""
    found: list[dict[str, float]] = [{} for _ in items]
    for metric in loaded:
        for values, item in zip(found, items, strict=True):
            sr, hq = (
                torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]
                / 255
                for path in (item.sr, item.row.hq)
            )
            values[metric.name] = float(metric.model(sr, hq))
    return found


def ours(loaded: list[metrics.Metric], items: list[scoring.Item]) -> list[dict[str, float]]:
    """The project's own scores."""
    return [one.values for one in scoring.score(loaded, items)]


def main() -> None:
    """Prints both sides of every round and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    folder = os.environ.get("OMGSR_REAL_DATA")
    loaded = [metrics.load(name) for name in NAMES]
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "sr")
        count = given.images
        rows = real(Path(folder), out, count) if folder else shipped(out, count)
        items = scoring.pair(rows, out)
        say(f"{len(items)} images, {', '.join(NAMES)}, {torch.get_num_threads()} threads of torch, "
            f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")  # fmt: skip
        for side in (plain, ours):
            side(loaded, items[:2])  # what is made at the first call
        for number in range(given.rounds):
            taken, values = {}, {}
            for side in (plain, ours):
                start = time.perf_counter()
                values[side] = side(loaded, items)
                taken[side] = time.perf_counter() - start
            worst = max(
                abs(a[name] - b[name])
                for a, b in zip(values[plain], values[ours], strict=True)
                for name in NAMES
            )
            speeds = " and ".join(f"{len(items) / taken[side]:.2f}" for side in (plain, ours))
            say(f"round {number + 1}: {speeds} images/s, plain and ours: "
                f"{taken[ours] / taken[plain]:.3f} of its time; scores differ by {worst:.1e} "
                "at most")  # fmt: skip


def say(text: str) -> None:
    """A line at once, for who watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

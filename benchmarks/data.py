"""Many pairs: images a second, memory that does not grow, and the time of a resume.

    python -m benchmarks.data [images, default 2000] [folder for them, default the temporary one]

Makes that many images in LSDIR's layout, lists them as the stage `data` does and degrades them as
the stage `degrade` does, a quarter of them and then all, each in a process of its own; then all of
them again, when everything is finished. Beside it stands a plain loop over some of the images. The
bars: the memory of no process grows by a fifth from a quarter to all, and a resume takes less than
a tenth of the time.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from skimage import data

from omgsr import config
from omgsr.core import images, seeding
from omgsr.core.parallel import ordered_map
from omgsr.data import audit, image_sets, manifest, pairs
from omgsr.data.degradation import degrade
from omgsr.data.settings import Folder, Images

PLAIN = 60
"""Images of the plain loop."""
GROWTH, RESUME = 1.2, 0.1
"""The bars."""


def make_image(folder: Path, index: int) -> None:
    """LSDIR's HR/train/0001000/0000001.png, about 800 x 600 pixels like no other."""
    path = folder / f"{(index - 1) // 1000 * 1000 + 1000:07d}/{index:07d}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(index)
    size = (int(rng.integers(700, 900)), int(rng.integers(520, 700)))
    picture = np.roll(data.astronaut(), rng.integers(0, 512, 2), (0, 1))
    Image.fromarray(cv2.resize(picture, size)).save(path, compress_level=1)


def settings(folder: Path, count: int) -> config.Config:
    """The paper's data section: one crop of 512 of each of these images, without benchmarks."""
    base = config.load(profile="paper", ready=False)
    part = Folder(path=str(folder), first=count, expected=count)
    train = replace(base.data, train=Images(folders=(part,)))
    return replace(base, data=train, benchmarks={})


def pipeline(folder: Path, work: Path, count: int) -> dict[str, float]:
    """Seconds and peak memory of listing, checking and degrading `count` images."""
    given, peaks = settings(folder, count), Peaks()
    start = time.perf_counter()
    data, sets = given.data, given.benchmarks
    rows = dict(image_sets.manifests(data, sets, given.seed, work, folder))["train"]
    listed = time.perf_counter()
    for _ in audit.look(audit.parts(data, sets, folder), deep=False):
        pass
    checked, before = time.perf_counter(), Peaks.of("self")
    plan = pairs.plans(data, sets, given.degradation, given.seed, "pairs")["train"]
    assert plan is not None
    jobs = [(plan, row) for row in rows]
    pairs.fingerprint(jobs)
    with peaks:
        made = [row for _, found in pairs.make(jobs, work) for row in found]
    manifest.write(work / "train.csv", made)
    return {
        "images": count,
        "list_s": listed - start,
        "check_s": checked - listed,
        "degrade_s": time.perf_counter() - checked,
        "before_mib": before,
        "parent_mib": Peaks.of("self"),
        "worker_mib": peaks.most,
    }


class Peaks(threading.Thread):
    """Peak memory of this process's workers, MiB, read from Linux's /proc while they live."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self.done = 0.0, threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.join()

    def run(self) -> None:
        """Looks ten times a second."""
        while not self.done.wait(0.1):
            self.most = max([self.most, *map(self.of, self.below(os.getpid()))])

    def below(self, parent: int) -> list[int]:
        """Processes that descend from one."""
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except OSError:
            return []
        return [pid for child in map(int, children) for pid in (child, *self.below(child))]

    @staticmethod
    def of(process: int | str) -> float:
        """Peak resident memory of a process, MiB; 0 for one that has ended."""
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            return 0.0
        return next((int(li.split()[1]) / 1024 for li in lines if li.startswith("VmHWM")), 0.0)


def plain(folder: Path, work: Path) -> float:
    """Images a second of a loop that reads, crops, degrades and writes one after the other."""
    preset = config.load(profile="paper", ready=False).degradation["realesrgan"]
    paths = sorted(folder.rglob("*.png"))[:PLAIN]
    work.mkdir()
    start = time.perf_counter()
    for index, path in enumerate(paths):
        rng = seeding.rng(0, index)
        hq = images.read_rgb(path)
        top, left = (int(rng.integers(side - 511)) for side in hq.shape[:2])
        lq = degrade(hq[top : top + 512, left : left + 512], preset, rng, 4)
        Image.fromarray(lq).save(work / f"{index}.png")
    return len(paths) / (time.perf_counter() - start)


def apart(folder: Path, work: Path, count: int) -> dict[str, float]:
    """`pipeline` in a process of its own, as a peak never falls."""
    command = [sys.executable, "-m", "benchmarks.data", "--part", folder, work, str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def main(count: int, base: str | None) -> None:
    """Prints the table; fails below the bars."""
    with tempfile.TemporaryDirectory(dir=base) as temporary:
        folder, work = Path(temporary, "HR/train"), Path(temporary, "work")
        for _ in ordered_map(make_image, repeat(folder), range(1, count + 1)):
            pass
        cores = len(os.sched_getaffinity(0))
        print(f"{cores} cores, load of the machine before: {os.getloadavg()[0]:.1f}")
        single = plain(folder, Path(temporary, "plain"))
        print(f"plain loop, one core: {single:.1f} images/s")
        print("images   list, s   check, s   degrade, s   images/s   parent, MiB   worker, MiB")
        runs = [apart(folder, work / str(part), part) for part in (count // 4, count)]
        runs.append(apart(folder, work / str(count), count))
        for run in runs:
            print(
                f"{run['images']:6} {run['list_s']:9.1f} {run['check_s']:10.1f} "
                f"{run['degrade_s']:12.1f} {run['images'] / run['degrade_s']:10.1f} "
                f"{run['parent_mib']:13.0f} {run['worker_mib']:13.0f}"
            )
    quarter, whole, again = runs
    share = again["degrade_s"] / whole["degrade_s"]
    growth = max(whole[name] / quarter[name] for name in ("parent_mib", "worker_mib"))
    ratio = whole["images"] / whole["degrade_s"] / single
    print(f"the last line is the resume: {share:.1%} of the time; memory grows by {growth - 1:.1%}")
    print(f"{ratio:.2f} times the plain loop on {cores} cores")
    if growth > GROWTH or share > RESUME:
        sys.exit(f"the bars are {GROWTH - 1:.0%} more memory and {RESUME:.0%} of the time")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--part"]:
        part = pipeline(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        print(json.dumps(part))
    else:
        main(int([*sys.argv, "2000"][1]), sys.argv[2] if len(sys.argv) > 2 else None)

"""Stage `infer`: the benchmarks restored by one run => runs/<run>/sr/<benchmark>/.

The run card decides timestep, prompt and latents; nothing of it can be said a second time here.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from omgsr import config, device, inference, manifest, runs
from omgsr.manifest import Row

Restored = Iterator[tuple[Row, inference.Image]]


def main(run: str) -> None:
    """`run` is a name such as full-auto."""
    settings = config.load()
    scale, plan = settings.data.scale, settings.infer
    generator, _ = runs.load(Path("runs") / run / "model", Path("foundation"))
    generator = inference.merge(generator).to(device.pick())

    def restore(rows: Iterable[Row]) -> Restored:
        return inference.restore_rows(generator, rows, plan.batch, scale, plan.color)

    out = Path("runs") / run / "sr"
    shutil.rmtree(out, ignore_errors=True)
    for name in settings.benchmarks:
        rows = manifest.read(f"data/pairs/{name}.csv")
        saved = inference.save_rows(restore(rows), out / name)
        for _ in tqdm(saved, total=len(rows), desc=f"{run} on {name}", unit="image"):
            pass


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"infer: {error}")

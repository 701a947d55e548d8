"""Stage `degrade`: LQ images for all sets => data/pairs/<set>.csv and data/pairs/<set>/lq/*.png.

The work is done in $DVC_ROOT/work, because DVC deletes a stage's outputs before it runs: after a
kill the next run finds what was finished. The whole folder is moved into place at the end.
"""

import shutil
from pathlib import Path

from tqdm import tqdm

from omgsr import config
from omgsr.core import workdir
from omgsr.core.image_files import ImageError
from omgsr.data import manifest, pairs
from stages import call, workspace

SOURCE, OUT = Path("data/source"), Path("data/pairs")


def main() -> None:
    """Makes every pair that is not there yet, then the manifests."""
    jobs: list[pairs.Job] = []
    made: dict[str, list[manifest.Row]] = {}
    c = config.load()
    plans = pairs.plans(c.data, c.benchmarks, c.degradation, c.seed, str(OUT))
    for name, plan in plans.items():
        rows = manifest.read(SOURCE / f"{name}.csv")
        made[name] = [] if plan else rows
        jobs += [(plan, row) for row in rows if plan]
    work = workspace() / "work" / f"degrade-{pairs.fingerprint(jobs)}"
    with workdir.exclusive(work) as require:
        bar = tqdm(pairs.make(jobs, work), total=len(jobs), desc="degrade", unit="image")
        skipped = 0
        for plan, rows in bar:
            made[Path(plan.folder).parent.name] += rows
            skipped += not rows
        if skipped:
            print(f"train: images smaller than the crop, skipped: {skipped:,}")
        if not made["train"]:
            raise ImageError("every image of data.train is smaller than data.crop; lower it")
        for name, rows in made.items():
            manifest.write(work / OUT / f"{name}.csv", rows)
        require()  # else pairs that were finished before are missing
        whole(made, work)
        workdir.publish(work / OUT, OUT)
        shutil.rmtree(work)


def whole(made: dict[str, list[manifest.Row]], work: Path) -> None:
    """Refuses to publish without a picture that somebody has deleted since it was finished."""
    own = [row.lq for rows in made.values() for row in rows if row.lq.startswith(f"{OUT}/")]
    lost = [lq for lq in own if not (work / lq).is_file()]
    if lost:
        raise FileNotFoundError(
            f"{work / lost[0]} and {len(lost) - 1} more were deleted after they were finished; run "
            "the same command again"
        )


if __name__ == "__main__":
    call(main)

"""Stage `score`: PyIQA scores of one run => runs/<run>/scores.csv, and how => scores.json.

Finished images are in $DVC_ROOT/work/<hash of all inputs>: a killed run continues, and writes the
same bytes.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from omgsr import config
from omgsr.core import files, images, workdir
from omgsr.data import manifest
from omgsr.data.manifest import Row
from omgsr.evaluation import contract, finished, metrics, scoring
from omgsr.evaluation.metrics import Metric
from omgsr.evaluation.scoring import Item, Scored
from omgsr.evaluation.settings import Score
from stages import call, workspace


def main(run: str) -> None:
    """`run` is a run of the sweep or a method; all of its benchmarks are scored."""
    settings = config.load()
    if run not in (allowed := settings.run_names + settings.method_names):
        raise ValueError(f"{run!r} is no run: {', '.join(allowed)}")
    folder, border = Path("runs", run), settings.score.crop_border
    # All pairs first: a mismatch in the last benchmark shows before any work.
    items = {
        name: scoring.pair(manifest.read(f"data/pairs/{name}.csv"), folder / "sr" / name)
        for name in settings.benchmarks_of(run)
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded, missing = metrics.load_all(settings.score.metrics, device, sets=True)
    told = contract.contract(loaded, device, border)
    whole = any(metric.traits.whole_set for metric in loaded)
    against = {n: reference(settings.score, n, own) for n, own in items.items()} if whole else {}
    inputs = items | {f"{name}-reference": own for name, own in against.items()}
    key = finished.fingerprint(told | {"exact": settings.exact}, inputs)
    work = workspace() / "work" / f"score-{key}"
    rows: list[dict[str, str | float]] = []
    notes = list(missing.values())
    with workdir.exclusive(work):
        with tqdm(total=sum(map(len, inputs.values())), desc=f"score {run}", unit="image") as bar:
            for name, own in items.items():
                keep, other = finished.Kept(work / name), finished.Kept(work / f"{name}-reference")
                ours = list(counted(scoring.score(loaded, own, border, keep), bar))
                others = scoring.describe(loaded, against.get(name, []), other)
                theirs = list(counted(others, bar))
                found, why = of_sets(loaded, ours, theirs)
                rows += scoring.records(name, ours, found)
                notes += [f"{name}: {note}" for one in ours for note in one.notes]
                notes += [f"{name}: {note}" for note in why]
        files.write_json(folder / "scores.json", told | {"unavailable": missing, "notes": notes})
        frame = pd.DataFrame(rows, columns=list(scoring.COLUMNS))
        files.write_text(folder / "scores.csv", frame.to_csv(index=False))
        shutil.rmtree(work)
    for note in notes:
        print(f"score: {note}", file=sys.stderr)


def reference(plan: Score, name: str, items: Sequence[Item]) -> list[Item]:
    """The images that metrics of whole sets compare with: the named folder's, else the HQ."""
    rows = [item.row for item in items if item.row.hq]
    if name in plan.reference:
        paths = images.list_images(Path(plan.reference[name]).expanduser())
        rows = [Row(name=f"{number:06d}", hq=str(path)) for number, path in enumerate(paths)]
    return [Item(sr=Path(row.hq), row=row) for row in rows]


def of_sets(
    loaded: Sequence[Metric], ours: Sequence[Scored], theirs: Sequence[Scored]
) -> tuple[dict[str, float], list[str]]:
    """(score by metric of whole sets, why there is none of the others)."""
    found: dict[str, float] = {}
    notes: list[str] = []
    for metric in loaded:
        if metric.traits.whole_set:
            try:
                found[metric.name] = scoring.whole_set(metric, ours, theirs)
            except scoring.ScoringError as error:
                notes.append(str(error))
    return found, notes


def counted(scored: Iterable[Scored], bar: Any) -> Iterator[Scored]:
    """All of them, each shown on the bar when it is there."""
    for one in scored:
        bar.update()
        yield one


if __name__ == "__main__":
    call(main)

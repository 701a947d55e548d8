"""Stage `score`: PyIQA scores of one run => runs/<run>/scores.csv, and how => scores.json."""

import csv
import io
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from omgsr import config, files, manifest, metrics, scoring


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
    loaded, missing = metrics.load_all(settings.score.metrics, device)
    rows, notes = [], list(missing.values())
    with tqdm(total=sum(map(len, items.values())), desc=f"score {run}", unit="image") as bar:
        for name, own in items.items():
            scored = []
            for one in scoring.score(loaded, own, border):
                scored.append(one)
                notes += [f"{name}: {note}" for note in one.notes]
                bar.update()
            rows += scoring.records(name, scored)
    for note in notes:
        print(f"score: {note}", file=sys.stderr)
    text = io.StringIO()
    writer = csv.DictWriter(text, scoring.COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    told = metrics.contract(loaded, device, border) | {"unavailable": missing, "notes": notes}
    files.write_json(folder / "scores.json", told)
    files.write_text(folder / "scores.csv", text.getvalue())


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"score: {error}")

"""Stage `page`: everything of the report in one file that opens from disk => reports/index.html."""

import io
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from omgsr import config
from omgsr.core import environment, files
from omgsr.core.files import read_json
from omgsr.evaluation import metrics
from omgsr.reporting import gallery, page, page_sections, summary, tables

OUT, SHOWN = Path("reports"), 4


def main() -> None:
    """Reads what the stages before have written."""
    settings = config.load()
    runs = settings.method_names + settings.run_names
    scores, composites = read("reports/scores.csv"), read("reports/composite.csv")
    for frame, name in ((scores, "value"), (composites, "composite")):
        frame[name] = pd.to_numeric(frame[name].replace("", None))
    timesteps = {run: read_json(f"runs/{run}/t.json")["t"] for run in settings.run_names}
    variants = dict(zip(settings.run_names, (run.variant for run in settings.runs), strict=True))
    paired = {name: one.paired for name, one in settings.benchmarks.items()}
    traits = [metrics.traits(name) for name in settings.score.metrics]
    contract = read_json("reports/contract.json")
    caveats = tables.caveats(settings.foundation.backbone)
    notes = caveats + [note for one in contract for note in one["notes"]]
    found = read_json("reports/timestep.json")
    table = tables.score_table(scores, composites, runs, paired, traits)
    papers = summary.in_paper_tables(
        scores, variants, settings.method_names, paired, traits, settings.score.compared, caveats
    )
    report = page.Report(
        title=f"OMGSR, profile {settings.profile}",
        subtitle="One-step real-world image super-resolution at a mid-timestep: "
        f"{', '.join(settings.run_names)} beside {', '.join(settings.method_names) or 'nothing'}",
        notes=list(dict.fromkeys(notes)),
        blocks=[
            page_sections.timestep(
                numbers("reports/timestep.csv"), found, numbers("data/moments.csv")
            ),
            page_sections.scores(table, numbers("reports/intervals.csv")),
            page_sections.paper(list(papers.values())),
            page_sections.differences(numbers("reports/differences.csv"), runs[0]),
            page_sections.composites(composites, timesteps, variants),
            page_sections.pictures(list(shown(settings, runs, scores))),
            page_sections.losses(
                {run: numbers(f"runs/{run}/train/history.csv") for run in settings.run_names}
            ),
            page_sections.evidence(
                contract,
                run_cards={run: read_json(f"runs/{run}/model/omgsr.json") for run in timesteps},
                settings=asdict(settings),
                environment=environment.describe(),
            ),
        ],
    )
    files.write_text(OUT / "index.html", page.render(report))


def read(path: str) -> pd.DataFrame:
    """Give a CSV as texts: an image may be called NA, and the image of a mean is empty."""
    return pd.read_csv(io.StringIO(files.read_text(path)), keep_default_na=False, dtype=str)


def numbers(path: str) -> pd.DataFrame:
    """Give a CSV with its numbers as numbers."""
    return pd.read_csv(io.StringIO(files.read_text(path)))


def shown(
    settings: config.Config, runs: tuple[str, ...], scores: pd.DataFrame
) -> Iterator[page.Picture]:
    """Give some pictures of each benchmark, at first LQ beside the last run."""
    for benchmark in settings.benchmarks:
        own = tuple(run for run in runs if benchmark in settings.benchmarks_of(run))
        for row, versions in gallery.chosen(benchmark, own, settings.data.scale, SHOWN):
            told = [f"{run}: {gallery.caption(scores, benchmark, run, row.name)}" for run in own]
            first = next(iter(versions))
            yield page.picture(f"{benchmark}, {row.name}", versions, first, runs[-1], told)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"page: {error}")

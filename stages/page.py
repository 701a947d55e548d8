"""Stage `page`: everything of the report in one file that opens from disk => reports/index.html."""

from collections.abc import Iterator
from dataclasses import asdict

import pandas as pd

from omgsr import config
from omgsr.core import environment, files, frames
from omgsr.core.files import read_json
from omgsr.reporting import compared, page, page_sections, paper_tables, sheets
from omgsr.reporting.tables import score_table
from stages import call


def main() -> None:
    """Reads what the stages before have written."""
    settings = config.load()
    told, names = compared.read(settings), settings.run_names
    scores = frames.scores(files.read_text("reports/scores.csv"))
    composites = frames.scores(files.read_text("reports/composite.csv"), "composite")
    contract = read_json("reports/contract.json")
    notes = [*told.caveats, *(note for one in contract for note in one["notes"])]
    found, moments = read_json("reports/timestep.json"), frames.read("data/moments.csv")
    table = score_table(scores, composites, told)
    html = page.render(
        title=f"OMGSR, profile {settings.profile}",
        subtitle="One-step real-world image super-resolution at a mid-timestep: "
        f"{', '.join(names)} beside {', '.join(told.methods) or 'nothing'}",
        notes=list(dict.fromkeys(notes)),
        blocks=[
            page_sections.timestep(frames.read("reports/timestep.csv"), found, moments),
            page_sections.scores(table, frames.read("reports/intervals.csv")),
            page_sections.paper(list(paper_tables.tables(scores, told).values())),
            page_sections.differences(frames.read("reports/differences.csv"), told.names[0]),
            page_sections.composites(composites, told.runs),
            page_sections.pictures(list(shown(settings, scores))),
            page_sections.losses({n: frames.read(f"runs/{n}/train/history.csv") for n in names}),
            page_sections.evidence(
                contract,
                run_cards={name: read_json(f"runs/{name}/model/omgsr.json") for name in names},
                settings=asdict(settings),
                environment=environment.describe(),
            ),
        ],
    )
    files.write_text("reports/index.html", html)


def shown(settings: config.Config, scores: pd.DataFrame) -> Iterator[page.Picture]:
    """Give some pictures of each benchmark, at first LQ beside the last run."""
    for benchmark in settings.benchmarks:
        own = settings.restoring(benchmark)
        for one in sheets.pictures(benchmark, own, scores, settings.data.scale):
            told = [f"{run}: {text}" for run, text in one.captions.items()]
            first, last = next(iter(one.versions)), settings.run_names[-1]
            yield page.picture(f"{benchmark}, {one.name}", one.versions, first, last, told)


if __name__ == "__main__":
    call(main)

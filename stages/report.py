"""Stage `report`: all runs side by side => reports/: scores, composites, tables and figures.

The runs are those of params.yaml; folders of earlier sweeps are not looked at.
"""

import io
import sys
from pathlib import Path

import pandas as pd

from omgsr import config
from omgsr.core import files, images
from omgsr.evaluation import metrics, statistics
from omgsr.evaluation.composite import composite
from omgsr.reporting import (
    figures,
    gallery,
    paper_numbers,
    plot_style,
    sheets,
    summary,
    table_formats,
    tables,
)

OUT, SHOWN = Path("reports"), 4


def main() -> None:
    """Reads the scores of every run and method and writes the report."""
    settings = config.load()
    runs = settings.method_names + settings.run_names
    traits = tuple(metrics.traits(name) for name in settings.score.metrics)
    scores = summary.read_scores("runs", runs)
    own = scores[scores["run"].isin(settings.run_names)]
    own = own[own["metric"].isin(settings.score.compared)]
    composites = composite(own, {one.name: one.lower_better for one in traits})
    files.write_text(OUT / "scores.csv", scores.to_csv(index=False))
    files.write_text(OUT / "composite.csv", composites.to_csv(index=False))
    files.write_json(OUT / "summary.json", summary.summary(scores, composites))
    files.write_json(OUT / "contract.json", contract(runs))
    lower = {one.name: one.lower_better for one in traits}
    gaps = statistics.differences(scores, runs[0], lower, settings.seed)
    table_of = {"intervals": statistics.intervals(scores, settings.seed), "differences": gaps}
    for name, frame in table_of.items():
        files.write_text(OUT / f"{name}.csv", frame.round(6).to_csv(index=False))
    paired = {name: one.paired for name, one in settings.benchmarks.items()}
    table = tables.score_table(
        scores, composites, runs, paired, traits, notes(settings, composites)
    )
    write_table("scores", table)
    variants = {run.name: run.variant for run in settings.runs}
    shown = summary.in_paper_tables(
        scores, variants, settings.method_names, paired, traits, settings.score.compared,
        tables.caveats(settings.foundation.backbone),
    )  # fmt: skip
    for number, one in shown.items():
        write_table(f"table{number}", one)
    draw(settings, composites)
    for name in settings.benchmarks:
        images.write_png(OUT / "figures" / f"{name}.png", sheet(settings, name, scores))
    # Underlining is HTML in Markdown; on the screen an italic mark reads better.
    print("\n" + table_formats.markdown(table, second="_{}_"))


def notes(settings: config.Config, composites: pd.DataFrame) -> list[str]:
    """What a reader of the table has to know."""
    found = tables.caveats(settings.foundation.backbone)
    if composites["composite"].isna().all():
        found.append("No composite score: it compares OMGSR runs, so it takes at least two.")
    for run in settings.method_names + settings.run_names:
        found += files.read_json(Path("runs", run, "scores.json"))["notes"]
    return list(dict.fromkeys(found))


def write_table(name: str, table: tables.Table) -> None:
    """A table in three formats."""
    folder = OUT / "tables"
    files.write_text(folder / f"{name}.md", table_formats.markdown(table))
    files.write_text(folder / f"{name}.csv", table_formats.plain_csv(table))
    files.write_text(folder / f"{name}.tex", table_formats.latex(table))


def draw(settings: config.Config, composites: pd.DataFrame) -> None:
    """Loss curves and composite scores of the runs."""
    names = settings.run_names
    histories = {
        run: pd.read_csv(io.StringIO(files.read_text(Path("runs", run, "train", "history.csv"))))
        for run in names
    }
    timesteps = {run: files.read_json(Path("runs", run, "t.json"))["t"] for run in names}
    variants = dict(zip(names, (run.variant for run in settings.runs), strict=True))
    drawn = {
        "losses": figures.loss_curves(histories),
        "composite": figures.composite_curve(
            composites, timesteps, variants, paper_numbers.figure_4()
        ),
    }
    for name, figure in drawn.items():
        plot_style.save(figure, OUT / "figures" / f"{name}.png")
        plot_style.save(figure, OUT / "figures" / f"{name}.pdf")


def sheet(settings: config.Config, benchmark: str, scores: pd.DataFrame) -> sheets.Pixels:
    """Some pictures of a benchmark by all methods, spread evenly over the set."""
    every = settings.method_names + settings.run_names
    runs = tuple(run for run in every if benchmark in settings.benchmarks_of(run))
    pictures = [
        sheets.Picture(
            name=row.name,
            versions=versions,
            captions={run: gallery.caption(scores, benchmark, run, row.name) for run in runs},
        )
        for row, versions in gallery.chosen(benchmark, runs, settings.data.scale, SHOWN)
    ]
    # Many runs: smaller cells keep the sheet within what a screen can show.
    return sheets.sheet(benchmark, pictures, sheets.DETAIL * (4 if len(runs) <= 4 else 3))


def contract(runs: tuple[str, ...]) -> list[dict[str, object]]:
    """How the scores were made: once for all runs whose scores were made alike."""
    found: list[dict[str, object]] = []
    for run in runs:
        told = files.read_json(Path("runs", run, "scores.json"))
        same = next((one for one in found if {**one, "runs": 0} == {**told, "runs": 0}), None)
        if same is None:
            found.append({"runs": [run], **told})
        else:
            same["runs"] = [*same["runs"], run]  # type: ignore[misc]
    return found


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"report: {error}")

"""Stage `report`: all runs side by side => reports/: scores, composites, tables and figures.

The runs are those of params.yaml; folders of earlier sweeps are not looked at.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from omgsr import config
from omgsr.core import files, frames, images
from omgsr.evaluation import statistics
from omgsr.evaluation.composite import composite
from omgsr.reporting import (
    compared,
    figures,
    paper_tables,
    plot_style,
    sheets,
    table_formats,
)
from omgsr.reporting.compared import Compared
from omgsr.reporting.tables import Table, score_table
from stages import call

OUT = Path("reports")


def main() -> None:
    """Reads the scores of every run and method and writes the report."""
    settings = config.load()
    told = compared.read(settings)
    scores = compared.read_scores("runs", told.names)
    own = scores["run"].isin(settings.run_names) & scores["metric"].isin(told.combined)
    composites = composite(scores[own], told.lower)
    gaps = statistics.differences(scores, told.names[0], told.lower, settings.seed)
    for name, frame in {
        "scores": scores,
        "composite": composites,
        "intervals": statistics.intervals(scores, settings.seed).round(6),
        "differences": gaps.round(6),
    }.items():
        files.write_text(OUT / f"{name}.csv", frame.to_csv(index=False))
    files.write_json(OUT / "summary.json", compared.summary(scores, composites))
    made = {name: files.read_json(Path("runs", name, "scores.json")) for name in told.names}
    files.write_json(OUT / "contract.json", contract(made))
    table = score_table(scores, composites, told, notes(told, composites, made))
    write_table("scores", table)
    for number, one in paper_tables.tables(scores, told).items():
        write_table(f"table{number}", one)
    draw(told, composites)
    for name in settings.benchmarks:
        images.write_png(OUT / "figures" / f"{name}.png", sheet(settings, name, scores))
    # Underlining is HTML in Markdown; on the screen an italic mark reads better.
    print("\n" + table_formats.markdown(table, second="_{}_"))


def notes(told: Compared, composites: pd.DataFrame, made: dict[str, Any]) -> list[str]:
    """What a reader of the table has to know."""
    found = list(told.caveats)
    if composites["composite"].isna().all():
        found.append("No composite score: it compares OMGSR runs, so it takes at least two.")
    found += [note for one in made.values() for note in one["notes"]]
    return list(dict.fromkeys(found))


def write_table(name: str, table: Table) -> None:
    """A table in three formats."""
    for kind, text in table_formats.FORMATS.items():
        files.write_text(OUT / "tables" / f"{name}.{kind}", text(table))


def draw(told: Compared, composites: pd.DataFrame) -> None:
    """Loss curves and composite scores of the runs."""
    histories = {one.name: frames.read(f"runs/{one.name}/train/history.csv") for one in told.runs}
    drawn = {
        "losses": figures.loss_curves(histories),
        "composite": figures.composite_curve(composites, told.runs),
    }
    for name, figure in drawn.items():
        for kind in ("png", "pdf"):
            plot_style.save(figure, OUT / "figures" / f"{name}.{kind}")


def sheet(settings: config.Config, benchmark: str, scores: pd.DataFrame) -> sheets.Pixels:
    """Some pictures of a benchmark by all methods."""
    runs = settings.restoring(benchmark)
    shown = list(sheets.pictures(benchmark, runs, scores, settings.data.scale))
    # Many runs: smaller cells keep the sheet within what a screen can show.
    return sheets.sheet(benchmark, shown, sheets.DETAIL * (4 if len(runs) <= 4 else 3))


def contract(made: dict[str, Any]) -> list[dict[str, Any]]:
    """How the scores were made: once for all runs whose scores were made alike."""
    found: list[dict[str, Any]] = []
    for name, told in made.items():
        same = next((one for one in found if one == {"runs": one["runs"], **told}), None)
        if same is None:
            found.append({"runs": [name], **told})
        else:
            same["runs"].append(name)
    return found


if __name__ == "__main__":
    call(main)

"""Stage `report`: all runs side by side => reports/: scores, composites, tables and figures.

The runs are those of params.yaml; folders of earlier sweeps are not looked at.
"""

import io
import sys
from pathlib import Path

import pandas as pd

from omgsr import (
    config,
    figures,
    files,
    images,
    manifest,
    metrics,
    plots,
    sheets,
    summary,
    tables,
)
from omgsr.composite import composite

OUT, SHOWN = Path("reports"), 4


def main() -> None:
    """Reads the scores of every run and method and writes the report."""
    settings = config.load()
    runs = settings.method_names + settings.run_names
    traits = tuple(metrics.traits(name) for name in settings.score.metrics)
    scores = summary.read_scores("runs", runs)
    own = scores[scores["run"].isin(settings.run_names)]
    composites = composite(own, {one.name: one.lower_better for one in traits})
    files.write_text(OUT / "scores.csv", scores.to_csv(index=False))
    files.write_text(OUT / "composite.csv", composites.to_csv(index=False))
    files.write_json(OUT / "summary.json", summary.summary(scores, composites))
    paired = {name: one.paired for name, one in settings.benchmarks.items()}
    table = tables.score_table(
        scores, composites, runs, paired, traits, notes(settings, composites)
    )
    write_tables(table)
    draw(settings, composites)
    for name in settings.benchmarks:
        images.write_png(OUT / "figures" / f"{name}.png", sheet(settings, name, scores))
    # Underlining is HTML in Markdown; on the screen an italic mark reads better.
    print("\n" + tables.markdown(table, second="_{}_"))


def notes(settings: config.Config, composites: pd.DataFrame) -> list[str]:
    """What a reader of the table has to know."""
    found = [tables.PIPELINE_ONLY] if settings.profile == "mini" else []
    if composites["composite"].isna().all():
        found.append("No composite score: it compares OMGSR runs, so it takes at least two.")
    for run in settings.method_names + settings.run_names:
        found += files.read_json(Path("runs", run, "scores.json"))["notes"]
    return list(dict.fromkeys(found))


def write_tables(table: tables.Table) -> None:
    """The main table in three formats."""
    folder = OUT / "tables"
    files.write_text(folder / "scores.md", tables.markdown(table))
    files.write_text(folder / "scores.csv", tables.plain_csv(table))
    files.write_text(folder / "scores.tex", tables.latex(table))


def draw(settings: config.Config, composites: pd.DataFrame) -> None:
    """Loss curves and composite scores of the runs."""
    names = settings.run_names
    histories = {
        run: pd.read_csv(io.StringIO(files.read_text(Path("runs", run, "train", "history.csv"))))
        for run in names
    }
    timesteps = {run: files.read_json(Path("runs", run, "t.json"))["t"] for run in names}
    variants = dict(zip(names, (variant for variant, _ in settings.runs), strict=True))
    figure = figures.composite_curve(composites, timesteps, variants)
    plots.save(figures.loss_curves(histories), OUT / "figures" / "losses.png")
    plots.save(figure, OUT / "figures" / "composite.png")


def sheet(settings: config.Config, benchmark: str, scores: pd.DataFrame) -> sheets.Pixels:
    """Some pictures of a benchmark by all methods, spread evenly over the set."""
    rows = manifest.read(f"data/pairs/{benchmark}.csv")
    runs = settings.method_names + settings.run_names
    chosen = manifest.spread(rows, SHOWN)
    own = scores[scores["benchmark"] == benchmark]
    pictures = [
        sheets.Picture(
            name=row.name,
            versions=versions(row, benchmark, runs, settings.data.scale),
            captions={run: caption(own, run, row.name) for run in runs},
        )
        for row in chosen
    ]
    # Many runs: smaller cells keep the sheet within what a screen can show.
    return sheets.sheet(benchmark, pictures, sheets.DETAIL * (4 if len(runs) <= 4 else 3))


def versions(
    row: manifest.Row, benchmark: str, runs: tuple[str, ...], scale: int
) -> dict[str, sheets.Pixels]:
    """LQ, bicubic, every run and HQ of one picture, all of one size."""
    lq = manifest.load_lq(row)
    found = {"LQ (nearest)": sheets.nearest(lq, scale), "bicubic": images.upscale(lq, scale)}
    for run in runs:
        found[run] = images.read_rgb(Path("runs", run, "sr", benchmark, f"{row.name}.png"))
    return found | ({"HQ": manifest.load_hq(row)} if row.hq else {})


def caption(scores: pd.DataFrame, run: str, image: str) -> str:
    """The first three scores of one picture."""
    own = scores[(scores["run"] == run) & (scores["image"] == image)]
    first = own[["metric", "value"]].head(3).itertuples(index=False)
    return "  ".join(f"{metric} {value:.4g}" for metric, value in first)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"report: {error}")

"""`make ablations`: the paper's comparisons, by DVC in a copy => reports/ablations/<profile>/.

    python -m stages.experiments.ablate                  every ablation of the profile
    python -m stages.experiments.ablate lrr osediff      these
    python -m stages.experiments.ablate timestep -j 2    two runs at a time, by DVC's queue

An ablation is a set of runs in configs/<profile>.yaml. They are trained, scored and compared in a
temporary copy (`dvc exp run --temp`), so that params.yaml and reports/ stay as they are. Runs that
any pipeline here has made before are taken from DVC's run-cache: doing it again trains nothing.
"""

import argparse
import json
import time
from pathlib import Path

import pandas as pd

from omgsr import config
from omgsr.core import files, frames
from omgsr.core.wording import unknown
from omgsr.evaluation import metrics
from omgsr.evaluation.composite import AVERAGE, composite
from omgsr.reporting import ablation, ablation_report, paper_numbers, plot_style, table_formats
from omgsr.reporting.compared import caveats
from stages import call, git
from stages.experiments import filled
from stages.experiments.dvc_experiments import side_by_side, together

OUT = Path("reports/ablations")


def main(names: list[str], jobs: int) -> None:
    """The ablations of these names, or all, one after the other."""
    settings = config.load()
    for name in names:
        if name not in settings.ablations:
            raise ValueError(unknown("unknown ablation", name, settings.ablations))
    git("rev-parse", "HEAD")  # dvc exp needs a commit to start from
    for name in names or list(settings.ablations):
        axes, started = settings.ablations[name].axes, time.time()
        experiment, out = f"ablation-{settings.profile}-{name}", OUT / settings.profile / name
        if jobs:
            side_by_side(experiment, axes, jobs)
        revision = together(experiment, axes)
        seconds = round(time.time() - started)
        publish(name, settings, revision, out, seconds)
        print(f"ablate: {name}: {out}/README.md, {seconds} s", flush=True)


def publish(name: str, settings: config.Config, revision: str, out: Path, seconds: int) -> None:
    """Scores, spread over seeds, figure, README.md and run.json of an experiment."""
    plan = settings.ablations[name]
    star = json.loads(git("show", f"{revision}:reports/timestep.json"))
    scores = frames.scores(git("show", f"{revision}:reports/scores.csv").decode())
    lower = {name: metrics.traits(name).lower_better for name in settings.score.compared}
    found = ablation_report.numbers(scores, star, lower, plan.claims)
    files.write_text(out / "scores.csv", scores.to_csv(index=False))
    files.write_text(out / "composite.csv", found.summary.round(6).to_csv(index=False))
    files.write_text(out / "spread.csv", found.spread.round(6).to_csv(index=False))
    files.write_bytes(out / "scores.md", git("show", f"{revision}:reports/tables/scores.md"))
    drawn = ablation.figure(
        found.summary, found.composites, found.runs, star, paper=plan.table == 5
    )
    plot_style.save(drawn, out / "figure.png")
    changed = git("diff", "--name-only", "HEAD", "--", ".", ":!reports", ":!dvc.lock").decode()
    about = {
        "commit": git("rev-parse", "--short=12", "HEAD").decode().strip(),
        "changed": changed.split(),
        "profile": settings.profile,
        "steps": settings.train.steps,
        "seeds": list(plan.seeds),
        "timestep": star,
        "seconds": seconds,
    }
    files.write_json(out / "run.json", about)
    text = filled(
        "ablation.md.jinja", name=name, plan=plan, about=about, found=found,
        limits=[*caveats(settings.foundation), *plan.limits],
        printed=printed(plan.table) if plan.table else "",
    )  # fmt: skip
    files.write_text(out / "README.md", text)


def printed(number: int) -> str:
    """The same composite over the paper's printed numbers, to compare orders, in Markdown."""
    scores = paper_numbers.table(number)
    scores = scores[scores["metric"] != "composite"]
    lower = {name: metrics.traits(name).lower_better for name in scores["metric"].unique()}
    found = composite(scores, lower)
    average = found[found["benchmark"] == AVERAGE].set_index("run")["composite"].astype(float)
    average = average.sort_values(ascending=False)  # a run without every number comes last
    rows = ((name, "–" if pd.isna(v) else f"{v:.3f}") for name, v in average.items())
    return "\n".join(table_formats.rows(["run", "average"], 1, rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m stages.experiments.ablate", description=main.__doc__
    )
    parser.add_argument("names", nargs="*", help="ablations of configs/<profile>.yaml; none is all")
    parser.add_argument("-j", "--jobs", type=int, default=0, help="runs at a time, by the queue")
    given = parser.parse_args()
    call(main, [given.names, given.jobs])

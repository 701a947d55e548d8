"""`omgsr composite`: composite scores of any CSV of scores (Eqs. 20-23)."""

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Normalises every metric over the runs of each benchmark (best 1, worst 0), takes the mean over the
metrics and then over the benchmarks, as the paper's Table 5 does:

  omgsr composite reports/scores.csv
  omgsr composite mine.csv --leave-one-out --lower my_metric -o composite.csv

SCORES.csv has one fact a row, with columns run, benchmark, metric, value; rows of single images, in
a column image, are averaged where there is no mean. Directions are PyIQA's. Composites compare the
runs of one file: those of two files are not on one scale."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("scores", type=Path, metavar="SCORES.csv", help="long CSV of scores")
    parser.add_argument(
        "--leave-one-out", action="store_true",
        help="also without each metric and each benchmark: how firm the ranking is",
    )  # fmt: skip
    for word, meaning in (("lower", "better when lower"), ("higher", "better when higher")):
        parser.add_argument(
            f"--{word}", action="append", default=[], metavar="METRIC",
            help=f"a metric that PyIQA does not know: {meaning}",
        )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, help="write the composites as CSV")


def run(given: argparse.Namespace) -> int:
    """Prints the table and, if asked, how firm the ranking is."""
    from omgsr.core import files
    from omgsr.evaluation import ranking
    from omgsr.evaluation.composite import composite

    scores = ranking.with_means(_read(given.scores))
    lower = _directions(dict.fromkeys(scores["metric"]), given.lower, given.higher)
    found = composite(scores, lower)
    print(_table(found.pivot(index="run", columns="benchmark", values="composite"), found))
    print(f"metrics: {', '.join(lower)}")
    if given.output:
        files.write_text(given.output, found.to_csv(index=False))
    if given.leave_one_out:
        ranked = ranking.leave_one_out(scores, lower)
        wide = ranked.assign(case=(ranked["left_out"] + " " + ranked["name"]).str.strip())
        wide["case"] = wide["case"].replace("", "all of them")
        ranks = wide.pivot(index="case", columns="run", values="rank")
        order = list(dict.fromkeys(wide["case"])), list(dict.fromkeys(wide["run"]))
        print("\nrank without ...\n" + ranks.loc[order].to_markdown())
        best, same, cases = ranking.firmness(ranked)
        print(f"\nbest: {', '.join(best) or 'none'}; alone at the top in {same} of {cases} cases")
    return 0


def _read(path: Path) -> Any:
    import io

    import pandas as pd

    from omgsr.core import files

    try:
        text = files.read_text(path)
        frame = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
        if "value" in frame:
            frame["value"] = pd.to_numeric(frame["value"].replace("", None))
    except (ValueError, pd.errors.ParserError) as error:
        raise ValueError(f"{path}: no CSV of scores: {error}") from error
    return frame


def _directions(names: dict[str, None], lower: list[str], higher: list[str]) -> dict[str, bool]:
    """Metric => whether lower is better; said on the command line, else PyIQA's."""
    from omgsr.evaluation import metrics

    both = set(lower) & set(higher)
    if both:
        raise ValueError(f"{min(both)}: given to both --lower and --higher")
    said = dict.fromkeys(lower, True) | dict.fromkeys(higher, False)
    found = {}
    for name in names:
        try:
            found[name] = said[name] if name in said else metrics.traits(name).lower_better
        except metrics.MetricError as error:
            raise ValueError(f"{error}; say its direction with --lower or --higher") from error
    return found


def _table(wide: Any, found: Any) -> str:
    """Runs down, benchmarks across, four decimals, a dash where there is no composite."""
    order = list(dict.fromkeys(found["run"])), list(dict.fromkeys(found["benchmark"]))
    cells = wide.loc[order].map(lambda v: "–" if v is None or v != v else f"{v:.4f}")
    text: str = cells.to_markdown(disable_numparse=True)
    return text

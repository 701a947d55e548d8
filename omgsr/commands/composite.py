"""\
Normalises every metric over the runs of each benchmark (best 1, worst 0), takes the mean over the
metrics and then over the benchmarks, as the paper's Table 5 does:

  omgsr composite reports/scores.csv
  omgsr composite mine.csv --leave-one-out --lower my_metric -o composite.csv

SCORES.csv has one fact a row, with columns run, benchmark, metric, value; rows of single images, in
a column image, are averaged where there is no mean. Directions are PyIQA's. Composites compare the
runs of one file: those of two files are not on one scale.
"""

import argparse
from pathlib import Path
from typing import Any


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
    from omgsr.evaluation import composite

    scores = composite.with_means(_read(given.scores))
    lower = _directions(dict.fromkeys(scores["metric"]), given.lower, given.higher)
    found = composite.composite(scores, lower)
    cells = _wide(found, "run", "benchmark", "composite")
    cells = cells.map(lambda v: "–" if v is None or v != v else f"{v:.4f}")
    print(cells.to_markdown(disable_numparse=True))
    print(f"metrics: {', '.join(lower)}")
    if given.output:
        files.write_text(given.output, found.to_csv(index=False))
    if given.leave_one_out:
        ranked = composite.leave_one_out(scores, lower)
        case = (ranked["left_out"] + " " + ranked["name"]).str.strip().replace("", "all of them")
        ranks = _wide(ranked.assign(case=case), "case", "run", "rank")
        print("\nrank without ...\n" + ranks.to_markdown())
        best, same, cases = composite.firmness(ranked)
        print(f"\nbest: {', '.join(best) or 'none'}; alone at the top in {same} of {cases} cases")
    return 0


def _read(path: Path) -> Any:
    from omgsr.core import files, frames

    try:
        return frames.scores(files.read_text(path))
    except ValueError as error:  # pandas' own are of this kind
        raise ValueError(f"{path}: no CSV of scores: {error}") from error


def _wide(long: Any, index: str, columns: str, values: str) -> Any:
    """A column of `long` as a table, rows and columns in the order in which they come."""
    order = [list(dict.fromkeys(long[name])) for name in (index, columns)]
    return long.pivot(index=index, columns=columns, values=values).loc[*order]


def _directions(names: dict[str, None], lower: list[str], higher: list[str]) -> dict[str, bool]:
    """Metric => whether lower is better; said on the command line, else PyIQA's."""
    from omgsr.evaluation import metrics

    if both := set(lower) & set(higher):
        raise ValueError(f"{min(both)}: given to both --lower and --higher")
    found = dict.fromkeys(lower, True) | dict.fromkeys(higher, False)
    try:
        return {n: found[n] if n in found else metrics.traits(n).lower_better for n in names}
    except metrics.MetricError as error:
        raise ValueError(f"{error}; say its direction with --lower or --higher") from error

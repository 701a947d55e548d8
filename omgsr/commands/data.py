"""\
Counts the images of every set against the expected number and reads their headers: sizes, images
smaller than the crop, files that cannot be read, pairs that do not fit. --deep decodes every image,
which also finds files that are damaged after their header, copies within a set, and images that
are trained on and tested on. Paths that are still null are named and left out.

The exit code is 1 when something is wrong.
"""

import argparse
from pathlib import Path

from omgsr.commands import profile


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    profile(parser)
    parser.add_argument("--deep", action="store_true", help="decode every image, on all cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the whole report there")


def run(given: argparse.Namespace) -> int:
    """Prints the report; 1 when something is wrong."""
    from tqdm import tqdm

    from omgsr import config
    from omgsr.commands import data_report
    from omgsr.core import files
    from omgsr.data import audit, audit_report

    root = Path(given.folder).resolve()
    settings = config.load(root, given.profile, ready=False)
    parts = audit.parts(settings.data, settings.benchmarks, root)
    total = sum(len(part.files) for part in parts)
    # Shown where somebody looks at it; a log has the report alone.
    for _ in tqdm(audit.look(parts, given.deep), total=total, unit="image", disable=None):
        pass
    wrong = audit_report.problems(settings.data, settings.benchmarks, parts)
    unset = [line for line in settings.unset if line[0].startswith(("data.", "benchmarks."))]
    print("\n".join(data_report.report(parts, given.deep, unset, wrong)))
    if given.json:
        sets = [audit_report.report(part) for part in parts]
        head = {"profile": settings.profile, "deep": given.deep, "sets": sets}
        files.write_json(given.json, {**head, "unset": dict(unset), "wrong": wrong})
    return int(bool(wrong))

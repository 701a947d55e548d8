"""A campaign of faults against real `dvc repro` in a clone of this repository.

    python -m benchmarks.chaos [--seed 0] [--kills 30] [--only NAME ...] [--out docs/reliability.md]

Every fault is done to a copy of a small finished run, whose next `dvc repro` must give the bytes of
a run that nothing has disturbed. Exit code 1 where a bar is missed.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.chaos import company, damage, kills, machine, storage
from benchmarks.chaos.outcome import Outcome
from benchmarks.chaos.project import Project, digests
from benchmarks.chaos.report import Campaign, markdown
from benchmarks.chaos.running import kill, left_behind

Group = Callable[[Project, kills.Timeline, int], Iterable[Outcome]]
GROUPS: dict[str, Group] = {
    "full": lambda project, line, seed: storage.full(project),
    "read-only": lambda project, line, seed: storage.read_only(project),
    "vanishing": lambda project, line, seed: storage.vanishing(project, line),
    "bits": lambda project, line, seed: damage.flipped(project, seed),
    "race": lambda project, line, seed: [company.race(project)],
    "twice": lambda project, line, seed: [company.twice(project)],
    "server": lambda project, line, seed: [company.server_gone(project)],
    "clock": lambda project, line, seed: [machine.clock_back(project)],
    "memory": lambda project, line, seed: machine.no_memory(project, line),
}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the bits")
    parser.add_argument("--kills", type=int, default=30)
    every = ["kills", *GROUPS]
    parser.add_argument(
        "--only", nargs="+", choices=every, default=every, metavar="NAME", help=", ".join(every)
    )
    parser.add_argument("--out", type=Path, help="Markdown file for the tables")
    parser.add_argument("--append", action="store_true", help="below what the file has")
    return parser.parse_args(words)


def command(asked: argparse.Namespace) -> str:
    """The words that do the same again."""
    only = [] if asked.only == ["kills", *GROUPS] else ["--only", *asked.only]
    words = ["--seed", str(asked.seed), "--kills", str(asked.kills), *only]
    return f"python -m benchmarks.chaos {' '.join(words)}"


def prepare(project: Project) -> tuple[kills.Timeline, list[tuple[float, float]]]:
    """The uninterrupted run, which is kept as the state `done`."""
    project.clone()
    said, line, busy = kills.measure(project)
    if said.code:
        sys.exit(f"{said.text}\nThe run that nothing disturbs has failed.")
    project.wanted, project.recorded = digests(project.folder), project.records()
    project.save("done")
    return line, busy


def faults(
    project: Project, asked: argparse.Namespace, found: Campaign
) -> Iterator[list[kills.Kill] | Outcome]:
    """Everything that was asked for, one after the other."""
    line, busy = prepare(project)
    found.undisturbed = line[-1][1]
    print(f"undisturbed: {found.undisturbed:.0f} s, {len(project.wanted)} files", flush=True)
    if "kills" in asked.only:
        given = kills.moments(asked.seed, asked.kills, line, busy)
        yield from kills.campaign(project, given, line)
    for name in (name for name in asked.only if name in GROUPS):
        try:
            yield from GROUPS[name](project, line, asked.seed)
        except storage.Refused as error:
            found.skipped[name] = str(error)


def run(project: Project, asked: argparse.Namespace) -> Campaign:
    """Does the faults, and writes what is found after each."""
    start, found = time.monotonic(), Campaign(words=command(asked))
    before = asked.out.read_text(encoding="utf-8") if asked.append else ""
    for one in faults(project, asked, found):
        found.add(one)
        found.seconds = time.monotonic() - start
        if asked.out:
            asked.out.write_text(markdown(found, before), encoding="utf-8")
    return found


def main(words: Sequence[str]) -> int:
    """Runs the campaign and prints its tables."""
    asked = arguments(words)
    top = Path(tempfile.mkdtemp(prefix="omgsr-chaos-")).resolve()
    try:
        found = run(Project(top), asked)
    finally:
        for process in left_behind(top):
            kill(process)
        shutil.rmtree(top, ignore_errors=True)
    print(markdown(found))
    return 0 if found.held else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""SIGKILL at random moments of a run, which is started again until it ends."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.chaos.outcome import Outcome, plain
from benchmarks.chaos.project import Project
from benchmarks.chaos.running import HUNG, Running, Said, kill, words_of

A_RUN = 10
"""Kills of one pipeline run at most."""
KINDS = ("group", "tree", "worker")
"""Whom: the process group, everything that was started, or one process of a stage alone."""
WORKERS = {
    "resource_tracker": "a resource tracker",
    "forkserver": "the forkserver or a worker of it",
    "stages.": "a rank of torchrun",
}
"""What a process is whose command has these words."""
Timeline = list[tuple[str, float]]
"""Each stage with the seconds from the start until it began; the last entry is the end."""


@dataclass(frozen=True)
class Moment:
    """When to kill whom: so many seconds after a stage has begun; '' is DVC before the first."""

    stage: str
    after: float
    kind: str


@dataclass(frozen=True)
class Kill:
    """A kill that was done."""

    number: int
    kind: str
    stage: str
    """The stage that ran."""
    at: float
    """Seconds since the stage, or DVC, began."""
    whom: str
    said: str
    """What the user saw of the death of one worker."""
    code: int
    traceback: bool


def moments(
    seed: int, count: int, line: Timeline, busy: Sequence[tuple[float, float]]
) -> list[Moment]:
    """`count` moments, evenly over the clock; a worker's over the times that have workers."""
    random_, kinds = random.Random(f"kills {seed}"), [KINDS[i % 3] for i in range(count)]
    found = []
    for kind in kinds:
        spans = busy if kind == "worker" and busy else [(0.0, line[-1][1])]
        at = random_.uniform(0, sum(end - start for start, end in spans))
        for start, end in spans:
            if at <= end - start:
                found.append(_placed(start + at, line, kind))
                break
            at -= end - start
    return found


def _placed(at: float, line: Timeline, kind: str) -> Moment:
    begun = [("", 0.0), *line[:-1]]
    stage, start = [(name, start) for name, start in begun if start <= at][-1]
    return Moment(stage, at - start, kind)


def dealt(given: Sequence[Moment], line: Timeline) -> list[list[Moment]]:
    """The moments as pipeline runs, each with some of every part, in the order of time."""
    starts = {"": 0.0, **dict(line[:-1])}
    ordered = sorted(given, key=lambda one: starts[one.stage] + one.after)
    runs = -(-len(ordered) // A_RUN)
    return [ordered[first::runs] for first in range(runs)]


def lasted(line: Timeline, stage: str) -> float:
    """Seconds that a stage took."""
    at = [name for name, _ in line].index(stage)
    return line[at + 1][1] - line[at][1]


def measure(project: Project) -> tuple[Said, Timeline, list[tuple[float, float]]]:
    """An uninterrupted run: what it said, when its stages began, and when there were workers."""
    running, busy, last = project.start(), list[tuple[float, float]](), [0.0, False]

    def watch() -> bool:
        there, now = bool(running.workers()), running.seconds
        if there and last[1]:
            busy.append((last[0], now))
        last[:] = [now, there]
        return False

    running.until(watch)
    line = [*running.seen, ("", running.seconds)]
    return running.end(), line, busy


def campaign(
    project: Project, given: Sequence[Moment], line: Timeline
) -> Iterator[list[Kill] | Outcome]:
    """The kills of each pipeline run, and what it gave after the last of them."""
    number = 0
    for run, plan in enumerate(dealt(given, line), 1):
        project.reset("clean")
        done: list[Kill] = []
        for moment in plan:
            number += 1
            done.append(struck(project, moment, number))
        yield done
        end = project.repro()
        yield Outcome(
            fault=f"run {run}, killed {len(done)} times", said="", code=-9,
            traceback=any(one.traceback for one in done) or end.traceback,
            after=plain(project, f"{end.code}, {end.line()}") if end.code else "0",
            departed=tuple(project.departed()),
            records=project.records() == project.recorded, unsaid=True,
        )  # fmt: skip


def struck(project: Project, moment: Moment, number: int) -> Kill:
    """Starts `dvc repro` and kills at the moment, or as soon as its stage is over."""
    running = project.start()
    reached = running.reach(moment.stage, moment.after)
    if not reached:  # all was done before: then while DVC looks for work
        running = project.start()
        reached = running.until(lambda: running.seconds > moment.after % 2)
    if reached and moment.kind == "worker":
        running.until(lambda: bool(running.workers()), limit=2.0)
    stage, begun = running.seen[-1] if running.seen else ("dvc", 0.0)
    at, said = running.seconds - begun, Said(-9, "")
    if moment.kind == "worker" and reached:
        whom, said = one_worker(running, random.Random(number)), running.end()
    else:
        whom = moment.kind
        running.kill_group() if moment.kind == "group" else running.kill_tree()
    line = HUNG if HUNG in said.text else plain(project, said.line())
    return Kill(number, moment.kind, stage, at, whom, line, said.code, said.traceback)


def one_worker(running: Running, choice: random.Random) -> str:
    """Kills one of the processes that the stage has started, or the stage; what it was."""
    workers = sorted(running.workers(), key=lambda one: one.pid)
    choice.shuffle(workers)
    for process in workers:
        words = " ".join(words_of(process))
        if kill(process):
            return next((what for name, what in WORKERS.items() if name in words), "a worker")
    stage = running.stage()
    if stage is not None and kill(stage):
        return "the stage, which had no worker"
    running.kill_tree()
    return "tree, between two stages"

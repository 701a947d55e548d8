"""The tables of a campaign, as Markdown."""

import os
from dataclasses import dataclass, field

from benchmarks.chaos.kills import Kill
from benchmarks.chaos.outcome import Outcome, table

TEXT = """# Reliability

What killed processes, full disks, flipped bits and company do to `dvc repro`, as measured by

```sh
{command}
```

in {minutes:.0f} minutes on {cores} cores. It clones the repository, runs the pipeline once with a
profile of a few images and two dozen training steps (it took {undisturbed:.0f} s), and does every
fault to a copy. *Same bytes* compares each file of `data/`, `foundation/`, `runs/` and `reports/`
after the next `dvc repro` with those of the first run; *records* are the results in MLflow's store.

**{bars}**

"""
PART = """
By `{command}` in {minutes:.0f} minutes, where the run that nothing disturbs took
{undisturbed:.0f} s: **{bars}**

"""
"""The same below an earlier campaign."""
KILLED = """## Kills

SIGKILL at random moments of the seed, evenly over the clock: of the process group (`group`), of
everything that was started (`tree`), of one process that a stage has started (`worker`; its line
is what the user saw). The run is started again after each, until it ends.

"""
LIMITS = """
## Limits

- A kill is one of processes: what was written stays. A machine that loses power may lose more, as
  files are renamed into place and not forced to the disk.
- A flipped bit keeps the time of its file. DVC knows files by size and time, so it does not see
  such a bit by itself: what reads the file has to, and `make verify` reads every result and what
  DVC's cache keeps. Weights and photographs outside the repository are hashed once, by the stages
  `foundation` and `data`.
- Memory is limited half-way through a stage, to what it has and 4 MiB.
- One machine, one user, one seed; disks of a network and several machines were not tried.
"""


@dataclass
class Campaign:
    """All that was found."""

    words: str
    """The command."""
    undisturbed: float = 0.0
    """Seconds of the run that nothing disturbs."""
    seconds: float = 0.0
    kills: list[Kill] = field(default_factory=list)
    runs: list[Outcome] = field(default_factory=list)
    faults: list[Outcome] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, one: list[Kill] | Outcome) -> None:
        """Keeps it, and shows it at once."""
        if isinstance(one, list):
            self.kills += one
            print("\n".join(row(kill) for kill in one), flush=True)
            return
        (self.runs if one.fault.startswith("run ") else self.faults).append(one)
        print(one.row(), flush=True)

    @property
    def held(self) -> bool:
        """Whether everything kept the bars."""
        return all(one.held for one in [*self.runs, *self.faults])


def row(kill: Kill) -> str:
    """A row of the table of kills."""
    traceback = "yes" if kill.traceback else "no"
    stage = kill.stage or "dvc"
    cells = (
        kill.number,
        stage,
        f"{kill.at:.1f}",
        kill.whom,
        kill.code,
        traceback,
        kill.said or "-",
    )
    return f"| {' | '.join(str(cell).replace('|', ' ') for cell in cells)} |"


def bars(found: Campaign) -> str:
    """The sentence of the bars."""
    missed = [one.fault for one in [*found.runs, *found.faults] if not one.held]
    whole = sum(one.held for one in found.runs)
    same = f"{len(found.kills)} kills, {whole} of {len(found.runs)} runs end as the first; "
    held = len(found.faults) - sum(not one.held for one in found.faults)
    text = f"{same if found.runs else ''}{held} of {len(found.faults)} other faults keep the bars."
    return text + (f" Not: {'; '.join(missed)}." if missed else "")


def markdown(found: Campaign, before: str = "") -> str:
    """The whole file, or what belongs below the text of an earlier campaign."""
    kept = before.partition(LIMITS)[0]
    told = kept + (PART if before else TEXT).format(
        command=found.words, minutes=found.seconds / 60, cores=len(os.sched_getaffinity(0)),
        undisturbed=found.undisturbed, bars=bars(found),
    )  # fmt: skip
    if found.kills:
        told += KILLED + "| | stage | second | killed | exit code | traceback | what was said |\n"
        told += f"|{'---|' * 7}\n" + "\n".join(map(row, found.kills)) + "\n\n"
        told += table(found.runs) + "\n"
    if found.faults:
        told += f"## Other faults\n\n{table(found.faults)}"
    told += "".join(f"\nNot done, {name}: {why}.\n" for name, why in found.skipped.items())
    return told + LIMITS

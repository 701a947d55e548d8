"""A program that runs in a workspace: what it says, where it is, and how it is killed."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

LIMIT = 600.0
"""Seconds after which a program hangs."""
STAGE = re.compile(r"^Running stage '(.+)':", re.MULTILINE)
BAR = re.compile(r"\d+%\|")
"""A bar of progress."""
TRACEBACK = "Traceback (most recent call last)"
HUNG = "hung"
"""Said of a program that did not end within LIMIT."""


@dataclass(frozen=True)
class Said:
    """What a program said until its end."""

    code: int
    text: str

    @property
    def traceback(self) -> bool:
        """Whether Python's own message was shown."""
        return TRACEBACK in self.text

    def line(self) -> str:
        """The line in which a stage, or DVC where none did, says what is wrong."""
        lines = [one.strip() for one in self.text.splitlines() if one.strip()]
        stages = {"stages/run.sh", "dvc", *(n.partition("@")[0] for n in STAGE.findall(self.text))}
        stages |= {"score"} if "score_baseline" in stages else set()
        lines = [one for one in lines if not BAR.search(one)]
        of_stages = [one for one in lines if one.partition(": ")[0] in stages and ": " in one]
        errors = [one for one in lines if one.startswith("ERROR: ")]
        return next(iter(of_stages[-1:] or errors[:1]), "")


class Running:
    """A process with a group of its own, whose output goes to a file."""

    def __init__(self, words: Sequence[str], folder: Path, env: Mapping[str, str]) -> None:
        self.begun = time.monotonic()
        self._file = tempfile.NamedTemporaryFile(dir=env["TMPDIR"], suffix=".log")  # noqa: SIM115
        self.process = subprocess.Popen(
            words, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL,
            stdout=self._file, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.seen: list[tuple[str, float]] = []
        """Each stage with the seconds from the start until it began."""

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begun

    def text(self) -> str:
        """What was said so far."""
        return Path(self._file.name).read_text(errors="replace").replace("\r", "\n")

    def look(self) -> bool:
        """Notes which stages have begun; False once the program has ended."""
        alive = self.process.poll() is None
        for name in STAGE.findall(self.text())[len(self.seen) :]:
            self.seen.append((name, self.seconds))
        return alive

    def until(self, reached: Callable[[], bool], limit: float = LIMIT) -> bool:
        """Waits; whether it was reached before the end and the limit."""
        last = time.monotonic() + limit
        while self.look() and time.monotonic() < last:
            if reached():
                return True
            time.sleep(0.05)
        return False

    def in_stage(self, stage: str, after: float = 0.0) -> bool:
        """Whether a stage has run for so long, or is over; '' is DVC before the first."""
        begun = dict(self.seen)
        if not stage:
            return bool(self.seen) or self.seconds >= after
        over = stage in begun and self.seen[-1][0] != stage
        return over or (stage in begun and self.seconds >= begun[stage] + after)

    def reach(self, stage: str, after: float = 0.0) -> bool:
        """Waits for a moment of a stage; False where all has ended before."""
        return self.until(lambda: self.in_stage(stage, after))

    def tree(self) -> list[psutil.Process]:
        """All processes below this one."""
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def stage(self) -> psutil.Process | None:
        """The process of the stage that runs: the first that is Python with a stage to do."""
        for process in self.tree():
            words = words_of(process)
            if any(word.startswith("stages.") for word in words) and "python" in words[0]:
                return process
        return None

    def workers(self) -> list[psutil.Process]:
        """The processes that a stage has started."""
        stage = self.stage()
        try:
            return stage.children(recursive=True) if stage else []
        except psutil.NoSuchProcess:
            return []

    def kill_group(self) -> None:
        """Kills all in the group at once; what has a group of its own goes on."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def kill_tree(self) -> None:
        """Kills everything that was started, as the end of a container does."""
        below = self.tree()
        self.process.kill()
        for process in below:
            kill(process)
        self.process.wait()

    def end(self, limit: float = LIMIT) -> Said:
        """Waits for the end; a program that hangs is killed, which its code and text say."""
        if self.until(lambda: False, limit) or self.process.poll() is None:
            self.kill_tree()
            return Said(-1, f"{self.text()}\n{HUNG}")
        return Said(self.process.returncode, self.text())


def kill(process: psutil.Process) -> bool:
    """Kills one process; whether it was there."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def left_behind(top: Path) -> list[psutil.Process]:
    """Processes that work below `top`, which nothing that was started waits for any more."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(top):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def words_of(process: psutil.Process) -> list[str]:
    """Its command; one empty word for a process that is gone."""
    try:
        return process.cmdline() or [""]
    except psutil.Error:
        return [""]

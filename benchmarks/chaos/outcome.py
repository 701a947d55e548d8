"""What a fault did, and the lines of the report about it."""

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.chaos.project import Project
from benchmarks.chaos.running import HUNG, Said

DELETE = re.compile(r"\b(delete|remove|mv)\b")
LONGEST = 320
"""Characters of a message that are shown."""
COLUMNS = (
    "fault", "what was said", "exit code", "traceback", "next `dvc repro`", "same bytes", "records",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One fault: what the user saw, and what the next `dvc repro` gave."""

    fault: str
    said: str
    """The one line that says what is wrong; '' where nothing was said."""
    code: int
    traceback: bool
    after: str
    """How the next `dvc repro` went."""
    departed: tuple[str, ...]
    """Files that are not those of the uninterrupted run."""
    records: bool
    """Whether the store has every result once."""
    unsaid: bool = False
    """Whether nothing had to be said: the fault was a kill, or was got over."""

    @property
    def held(self) -> bool:
        """Whether all bars are kept."""
        told = bool(self.said) or self.code == 0 or self.unsaid
        whole = not self.departed and self.records and self.after.startswith("0")
        return told and whole and not self.traceback and HUNG not in self.after

    def row(self) -> str:
        """A row of the table."""
        same = "yes" if not self.departed else f"no: {', '.join(self.departed[:3])}"
        cells = (
            self.fault, self.said or "-", str(self.code), "yes" if self.traceback else "no",
            self.after, same, "all" if self.records else "not all",
        )  # fmt: skip
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def outcome(project: Project, fault: str, said: Said, *, store: Path | None = None) -> Outcome:
    """What a fault has done, with the next `dvc repro` that looks for what it left."""
    after, deleted = project.repro(), ""
    if after.code:
        deleted = obey(project, after)
        again = project.repro() if deleted else after
        after = Said(again.code, f"{after.text}\n{again.text}")
    how = f"{after.code}, {after.line() or 'nothing said'}" if after.code else "0"
    how = plain(project, how)
    how += f", after `{plain(project, deleted)}` was deleted as it said" if deleted else ""
    how += f", {HUNG}" if HUNG in after.text else ""
    return Outcome(
        fault=fault, said=plain(project, said.line()), code=said.code,
        traceback=said.traceback or after.traceback, after=how,
        departed=tuple(project.departed()),
        records=project.records(folder=store) == project.recorded,
    )  # fmt: skip


def obey(project: Project, said: Said) -> str:
    """Deletes the file or folder that a message says to delete; '' where it says none."""
    line = said.line()
    if not DELETE.search(line):
        return ""
    for word in re.findall(r"[\w./@-]+", line):
        path = project.folder / word.rstrip(".:,")
        if ("/" in word or "." in word[:-1]) and path.exists() and path != project.folder:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return path.relative_to(project.folder).as_posix()
    return ""


def plain(project: Project, text: str) -> str:
    """A text without the place of this machine, and of what differs from run to run."""
    text = text.replace(f"{project.folder}/", "").replace(str(project.folder), ".")
    text = text.replace(str(project.top), "").replace(sys.prefix, "<environment>")
    text = re.sub(r"(work/[a-z]+-)[0-9a-f]{16}", r"\1<hash>", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:<port>", re.sub(r"\.tmp-\d+-", ".tmp-", text))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def table(outcomes: list[Outcome]) -> str:
    """All of them as Markdown."""
    head = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"
    return head + "\n".join(one.row() for one in outcomes) + "\n"

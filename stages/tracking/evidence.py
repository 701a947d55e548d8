"""What the runs of one report have in MLflow beside numbers: files, data, tags, the way back."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from omgsr.config import Config
from omgsr.core.files import read_json
from omgsr.core.settings import read_yaml
from omgsr.data import manifest
from stages import git
from stages.tracking.registry import Data, Picture

PREVIEWS = 8
"""Preview pictures of a training at most."""


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all runs of a report have in common, read once."""

    changed: tuple[str, str]
    """Commit, and the patch of what differs from it."""
    artifacts: tuple[tuple[Path, str], ...]
    report: str
    """Digest of the report's files."""
    benchmarks: tuple[Data, ...]
    locked: dict[str, Any]
    """The stages of dvc.lock."""


def share(config: Config) -> Shared:
    """Read what all runs have in common."""
    files, changed = artifacts(), origin()
    return Shared(
        changed=changed,
        artifacts=((Path("dvc.lock"), ""), *files),
        report=digest(changed, files=tuple(path for path, _ in files)),
        benchmarks=tuple(measured_on(config)),
        locked=read_yaml(Path("dvc.lock"), "dvc.lock")["stages"],
    )


def artifacts() -> tuple[tuple[Path, str], ...]:
    """Give the files of the report: its tables, its pictures and how the scores were made."""
    folders = [Path("reports/tables"), Path("reports/figures")]
    found = [(file, folder.name) for folder in folders for file in sorted(folder.iterdir())]
    contract = Path("reports/contract.json"), ""
    return (*found, (Path("reports/timestep.png"), "figures"), contract)


def pictures(config: Config, run: str) -> tuple[Picture, ...]:
    """Give one restored image of each benchmark, and the previews of a training by step."""
    found = [
        (path, f"restored/{name}", 0)
        for name in config.benchmarks
        for path in sorted(Path("runs", run, "sr", name).glob("*.png"))[:1]
    ]
    previews = sorted(Path("runs", run, "train", "previews").glob("*.png"))
    stride = -(-len(previews) // PREVIEWS) or 1
    shown = previews[::-1][::stride]  # the last one always
    return (*found, *((path, "preview", int(path.stem.rpartition("-")[2])) for path in shown))


def measured_on(config: Config) -> Iterator[Data]:
    """Give the benchmarks by the digests of their lists and LQ images."""
    for name in config.benchmarks:
        lq = sorted(Path("data/pairs", name).rglob("*.*"))
        made_of = digest(files=(Path(f"data/pairs/{name}.csv"), *lq))
        yield dataset(name, "evaluation", made_of)


def dataset(name: str, context: str, made_of: str) -> Data:
    """Describe a set of data/pairs."""
    path = f"data/pairs/{name}.csv"
    count = len(manifest.read(path))
    return Data(name=name, context=context, path=path, digest=made_of[:32], rows=count)


def digest(*values: Any, files: tuple[Path, ...] = ()) -> str:
    """Give the SHA-256 of plain values and of the bytes of files."""
    text = json.dumps(values, sort_keys=True, default=str)
    return sha256(b"".join([text.encode(), *(file.read_bytes() for file in files)])).hexdigest()


def origin() -> tuple[str, str]:
    """Give the commit and what differs from it, as a patch, but for what the pipeline writes."""
    ours = ("--", ".", ":!reports", ":!dvc.lock")
    try:
        commit, patch = git("rev-parse", "HEAD"), git("diff", "--binary", "HEAD", *ours)
    except ChildProcessError:  # no repository
        return "", ""
    return commit.decode().strip(), patch.decode()


def way_back(run: str, commit: str, patch: str) -> str:
    """Give the commands that bring a run's files back; RUN is the run's id in MLflow."""
    fetch = "mlflow artifacts download --run-id RUN --dst-path . --artifact-path"
    lines = [f"git checkout {commit[:12]}"] if commit else []
    lines += [f"{fetch} changes.patch", "git apply changes.patch"] if patch else []
    lines += [f"{fetch} dvc.lock", f"dvc checkout runs/{run}"]
    name = os.environ.get("DVC_EXP_NAME", "")
    short = f"In the clone it was made in also: `dvc exp apply {name}`\n\n" if name else ""
    return (
        "Back to the files of this run, in a clone with its DVC cache (with a remote: `dvc pull` "
        "for `dvc checkout`):\n\n    " + "\n    ".join(lines) + f"\n\n{short}"
        "Everything again: `dvc repro` after these commands."
    )


def tags(run: str, profile: str, live: str | None, changed: tuple[str, str]) -> dict[str, str]:
    """Link a run to git, to DVC's experiment and to its live curves, with the way back to it."""
    commit, patch = changed
    given = {
        "profile": profile,
        "git.commit": commit,
        "git.changed": " ".join(sorted(set(re.findall(r"^\+\+\+ b/(.*)$", patch, re.MULTILINE)))),
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "omgsr.live_run": live or "",
        "mlflow.source.name": "dvc.yaml",
        "mlflow.source.type": "PROJECT",
        "mlflow.source.git.commit": commit,
        "mlflow.note.content": way_back(run, commit, patch),
    }
    return {name: value for name, value in given.items() if value}


def place(config: Config, run: str) -> dict[str, str]:
    """Give variant, timestep and seed of a run as tags, which the pages group and filter by."""
    if run in config.method_names:
        return {"variant": run}
    variant, _, seed = config.runs[config.run_names.index(run)]
    card = read_json(Path("runs", run, "model", "omgsr.json"))
    return {"variant": variant, "t": str(card["t"]), "seed": str(seed)}


def sweep(config: Config, keys: list[str]) -> dict[str, str]:
    """Give the tag of the runs that stand side by side in this report."""
    values = asdict(config.sweep)
    about = " ".join(f"{name}={','.join(map(str, given))}" for name, given in values.items())
    return {f"sweep.{digest(config.profile, sorted(keys))[:8]}": about, "sweep": about}

"""What the runs of one report have in MLflow beside numbers: files, pictures, data sets."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omgsr.config import Config
from omgsr.core.yaml_files import read_yaml
from omgsr.data import manifest
from stages.tracking import labels
from stages.tracking.labels import digest
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
    files, changed = artifacts(), labels.origin()
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

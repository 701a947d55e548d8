"""\
Looks at this machine, the packages, the pre-trained models, the data and the metrics of a profile,
without any network, and says of everything that is missing which command gets it, from where, and
under what terms. It estimates the memory of a training by part, and says what to switch to bring it
under that of a GPU. The exit code is 0 where nothing is missing.

  omgsr doctor
  omgsr doctor --profile paper
  omgsr doctor --profile flux --memory 48
"""

import argparse
import os
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from omgsr.commands import profile

if TYPE_CHECKING:
    from omgsr.config import Config


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `omgsr doctor`."""
    profile(parser)
    parser.add_argument(
        "--memory", type=_positive, metavar="GIB", help="of a GPU (default: the smallest one here)"
    )
    parser.add_argument(
        "--seconds", type=_positive, metavar="S",
        help="measured seconds of one forward pass with its gradients, which give the hours",
    )  # fmt: skip


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def run(given: argparse.Namespace) -> int:
    """Prints every finding; 1 if something is missing."""
    from omgsr import config

    root = Path(given.folder)
    settings = config.load(root, given.profile, ready=False)
    found = []
    for one in everything(settings, root, given.memory, given.seconds):
        found.append(one.status)
        first = f"{one.status:8} {one.part:9} {one.what:34} "
        # Addresses and commands are never broken: they are to be copied.
        print(
            textwrap.fill(
                one.text, 118, initial_indent=first, subsequent_indent=" " * 21,
                break_long_words=False, break_on_hyphens=False,
            )
        )  # fmt: skip
    missing = found.count("missing")
    said = f"{missing} things are missing" if missing else "everything that it needs is here"
    print(f"\nprofile {settings.profile}: {said}")
    return int(missing > 0)


class Finding(NamedTuple):
    """One line of a checkup."""

    part: str
    what: str
    status: Literal["ok", "missing", "note"]
    text: str
    """What is there, or how to get it and under what terms."""


def everything(
    config: "Config", root: Path, gib: float | None = None, seconds: float | None = None
) -> Iterator[Finding]:
    """Machine, packages, model, features, data, metrics and memory of a profile, in this order.

    `gib` and `seconds` are those of memory_advice.findings.
    """
    from omgsr.commands import memory_advice

    yield from machine(root)
    yield from packages()
    yield from model(config, root)
    yield from data(config, root)
    yield from scores(config)
    yield from memory_advice.findings(config, root, gib, seconds)


def machine(root: Path) -> Iterator[Finding]:
    """Processors, memory, GPUs and disk."""
    import torch

    from omgsr.core import environment

    found = environment.describe()
    yield Finding("machine", "python", "ok", str(found["python"]))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield Finding(
        "machine", "cpu", "ok", f"{found['processors']} processors, {memory:.0f} GiB of memory"
    )
    names = [
        f"{torch.cuda.get_device_name(i)}, {torch.cuda.mem_get_info(i)[1] / 2**30:.0f} GiB"
        for i in range(torch.cuda.device_count())
    ]
    text = "; ".join(names) or "none: the profile mini needs none, those of the paper's scale do"
    yield Finding("machine", "gpu", "ok" if names else "note", text)
    free = shutil.disk_usage(root).free / 2**30
    yield Finding("machine", "disk", "ok", f"{free:.0f} GiB free")


def packages() -> Iterator[Finding]:
    """The packages that results depend on."""
    from omgsr.core import environment

    versions: Any = environment.describe()["packages"]
    for name, version in versions.items():
        if version == "not installed":
            yield Finding("packages", name, "missing", "run `make install`")
        else:
            yield Finding("packages", name, "ok", version)


def model(config: "Config", root: Path) -> Iterator[Finding]:
    """The pre-trained model and the feature network."""
    from omgsr.models import catalogue, feature_weights

    plan = config.foundation
    network = plan.features
    if plan.source in ("shipped", "train"):
        yield Finding("model", plan.backbone, "ok", "comes with omgsr")
        if network.path is None:
            yield Finding("model", network.name, "ok", "comes with omgsr")
        else:
            obtain = feature_weights.obtain(network.name)
            yield _path("model", network.name, network.path, root, obtain)
        return
    licence = catalogue.KNOWN[plan.backbone]["licence"] if plan.backbone in catalogue.KNOWN else "?"
    obtain = plan.obtain or catalogue.obtain(plan.backbone)
    if plan.source == "hub":
        text = f"hub id {plan.path} at {plan.revision}, downloaded when needed ({licence})"
        yield Finding("model", plan.backbone, "note", text)
    else:
        yield _path("model", plan.backbone, plan.path, root, f"{obtain} ({licence})")
    if network.path is None:
        text = f"asked of timm's hub when needed; offline: {feature_weights.obtain(network.name)}"
        yield Finding("model", network.name, "note", text)
    else:
        yield _path("model", network.name, network.path, root, feature_weights.obtain(network.name))


def data(config: "Config", root: Path) -> Iterator[Finding]:
    """The folders and lists of the training set and the benchmarks."""
    sets = {"train": [config.data.train]}
    for name, benchmark in config.benchmarks.items():
        sets[name] = [part for part in (benchmark.hq, benchmark.lq) if part is not None]
    for name, parts in sets.items():
        folders = [folder for part in parts for folder in part.folders]
        if not folders:
            yield Finding("data", name, "ok", "comes with the packages")
        for folder in folders:
            yield _path("data", name, folder.path, root, folder.obtain or "a path")


def scores(config: "Config") -> Iterator[Finding]:
    """The metrics, each loaded without a network."""
    from omgsr.evaluation import metrics

    for name in config.score.metrics:
        try:
            read = metrics.load(name).weights
        except metrics.MetricError as error:
            # Without its weights a metric is a dash in the tables; the pipeline goes on.
            yield Finding("metrics", name, "note", str(error))
        else:
            text = ", ".join(["loads offline", *(one.file for one in read)])
            yield Finding("metrics", name, "ok", text)


def _path(part: str, what: str, path: str | None, root: Path, obtain: str) -> Finding:
    if path is None:
        return Finding(part, what, "missing", f"path: null; {obtain}")
    if not (root / Path(path).expanduser()).exists():
        return Finding(part, what, "missing", f"{path}: not there; {obtain}")
    return Finding(part, what, "ok", path)

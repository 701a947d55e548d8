"""Becomes one stage, with a device of its own: python stages/launch.py train full auto 0.

Stages that compute take a lease, so that `dvc queue start -j N` puts one of them on a device at a
time. OMGSR_DEVICES lists the devices, else CUDA_VISIBLE_DEVICES, else nvidia-smi: `0,1` are two
GPUs, `0,0,1,1` two places on each, `cpu,cpu` two halves of the cores, and an empty text is no
lease. A lease is a lock on a file that the stage inherits: the system lets go of it when the stage
ends, however it ends. filelock opens its files so that a process which becomes another loses them.

Without a GPU the training of a profile with `exact: true` is as many processes as it has cores, up
to train.accumulate; OMGSR_LAUNCH, options of torchrun, says otherwise.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NEEDS = ("torch", "diffusers", "peft", "timm", "mlflow", "ruamel")
COMPUTE = {"foundation", "timestep", "train", "infer", "baseline", "score"}
"""Stages that use a GPU where there is one."""
PATIENCE = 2.0
"""Seconds of waiting after which it is said what for."""


def devices() -> list[str]:
    """Give the devices of this machine that may be used, [] where none is to be leased."""
    for name in ("OMGSR_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            found = [one.strip() for one in os.environ[name].split(",") if one.strip()]
            wrong = [one for one in found if not re.fullmatch(r"[\w:.-]+", one)]
            if wrong:
                raise ValueError(f"{name}: got {wrong[0]!r}, allowed: numbers or ids, or cpu")
            return found
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.split() if asked.returncode == 0 else []


def wanted(stage: str, launch: str, there: Sequence[str]) -> int:
    """Give how many devices a stage takes: as many as torchrun starts processes, else one."""
    if stage not in COMPUTE or not there:
        return 0
    asked = re.search(r"--nproc[_-]per[_-]node[ =](\w+)", launch) if stage == "train" else None
    if asked is None:
        return 1
    return min(int(asked[1]), len(there)) if asked[1].isdigit() else len(there)


def folder() -> Path:
    """Give the folder of the locks: of this machine and user, for all checkouts together."""
    path = Path(tempfile.gettempdir(), f"omgsr-devices-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise OSError(f"{path} belongs to somebody else; set TMPDIR to a folder of your own")
    return path


def places(there: Sequence[str]) -> list[Path]:
    """Give a lock file for each entry; the same device twice has two."""
    return [folder() / f"{one}.{list(there[:i]).count(one)}" for i, one in enumerate(there)]


def take(path: Path) -> int | None:
    """Give an open file that holds the lock until it is closed everywhere, or None if taken."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} ({' '.join(sys.argv[1:])})".encode())
    return descriptor


def lease(there: Sequence[str], count: int) -> list[tuple[str, int]]:
    """Wait until `count` of the entries are free and take them => (entry, open lock) of each."""
    held: dict[int, int] = {}
    locks, said, start = places(there), False, time.monotonic()
    if count > 1:  # one after the other: no two hold half of what each needs
        turn = os.open(folder() / "turn", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(turn, fcntl.LOCK_EX)  # until this process becomes the stage
    while True:
        for index, path in enumerate(locks):
            if len(held) < count and index not in held:
                descriptor = take(path)
                if descriptor is not None:
                    held[index] = descriptor
        if len(held) == count:
            return [(there[index], descriptor) for index, descriptor in sorted(held.items())]
        if not said and time.monotonic() - start > PATIENCE:
            users = ", ".join(path.read_text() for path in locks)
            print(f"{sys.argv[1]} waits for a device; in use by {users}", file=sys.stderr)
            said = True
        time.sleep(0.1)


def cores() -> int:
    """Give how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def settle(taken: Sequence[tuple[str, int]], entries: int) -> None:
    """Tell the stage, by its environment, which devices or share of the cores it has."""
    gpus = list(dict.fromkeys(entry for entry, _ in taken if entry != "cpu"))
    if not gpus:
        threads = max(cores() * len(taken) // entries, 1)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    for _, descriptor in taken:
        os.set_inheritable(descriptor, True)


def profile() -> dict[str, Any]:
    """Give the profile that params.yaml names."""
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # started as a file, from its folder
    from omgsr.core import exact

    return exact.profile(Path())


def crew(settings: Mapping[str, Any]) -> str:
    """Give torchrun's options for a training without a GPU, '' for one process.

    Each process has one thread (stages/train.py), so one a core; more than the batches of a step
    would have nothing to do. The result is the same for any number. Large models, whose profiles
    are not exact, would not fit into the memory that often.
    """
    share = os.environ.get("OMP_NUM_THREADS", "")
    plan = settings.get("train")
    batches = plan.get("accumulate") if isinstance(plan, dict) else None
    if settings.get("exact") is not True or not isinstance(batches, int):
        return ""
    count = min(int(share) if share.isdigit() else cores(), cores(), batches)
    return f"--standalone --nproc-per-node={count}" if count > 1 else ""


def command(stage: str, launch: str) -> list[str]:
    """Give the words that run a stage; `launch` are options of torchrun, for `train` alone."""
    if stage == "train" and launch:
        return [sys.executable, "-m", "stages.crew", *launch.split(), "-m"]
    return [sys.executable, "-m"]


def main(stage: str, *words: str) -> None:
    """Become the stage; an error says why not."""
    missing = [name for name in NEEDS if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(
            f"stages/run.sh: {sys.executable} cannot run OMGSR, it lacks {', '.join(missing)}. Run "
            "'make install' (it makes .venv), or set OMGSR_PYTHON to a Python that has the "
            "packages of pyproject.toml."
        )
    launch, there = os.environ.get("OMGSR_LAUNCH", ""), devices() if stage in COMPUTE else []
    count = wanted(stage, launch, there)
    if count:
        settle(lease(there, count), len(there))
    if stage == "train" and not launch and not any(entry != "cpu" for entry in there):
        launch = crew(profile())
    os.execv(sys.executable, [*command(stage, launch), f"stages.{stage}", *words])


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"stages/run.sh: {error}")

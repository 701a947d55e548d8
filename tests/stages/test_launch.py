"""A device for every worker: leases that no two have, and that end with their process."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from stages import launch

ROOT = Path(__file__).resolve().parents[2]
BODY = """
import os, sys, time
from pathlib import Path
device, seconds = os.environ.get("CUDA_VISIBLE_DEVICES", "all"), float(sys.argv[1])
threads = os.environ.get("OMP_NUM_THREADS", "")
log = Path(os.environ["LOG"])
start = time.monotonic()
(log / f"{os.getpid()}.started").touch()
time.sleep(seconds)
(log / f"{os.getpid()}").write_text(f"{device} {start} {time.monotonic()} {threads}")
"""


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the workspace whose stages only sleep, with locks of its own."""
    (tmp_path / "stages").mkdir()
    for name in ("__init__", "train", "report"):
        (tmp_path / "stages" / f"{name}.py").write_text("" if name == "__init__" else BODY)
    (tmp_path / "log").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("OMGSR_LAUNCH", raising=False)
    return tmp_path


Worker = subprocess.Popen[str]


def start(copy: Path, seconds: float, devices: str, stage: str = "train") -> Worker:
    given = {"OMGSR_PYTHON": sys.executable, "OMGSR_DEVICES": devices, "LOG": str(copy / "log")}
    return subprocess.Popen(
        ["sh", str(ROOT / "stages/run.sh"), stage, str(seconds)],
        cwd=copy, env=os.environ | given, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait(worker: Worker) -> str:
    """What it said; it has ended well."""
    said = worker.communicate(timeout=60)[1]
    assert worker.returncode == 0, said
    return said


def kill(worker: Worker, sign: signal.Signals = signal.SIGKILL) -> None:
    worker.send_signal(sign)
    worker.communicate()


def ended(copy: Path) -> list[list[str]]:
    logs = [path for path in (copy / "log").iterdir() if path.suffix == ""]
    return [path.read_text().split(" ") for path in logs]


def running(copy: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while len(list((copy / "log").glob("*.started"))) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_no_two_workers_have_one_device(copy: Path) -> None:
    workers = [start(copy, 0.3, "0,1") for _ in range(6)]
    for worker in workers:
        wait(worker)
    times = ended(copy)
    assert len(times) == 6
    for device in ("0", "1"):
        own = sorted((float(a), float(b)) for name, a, b, _ in times if name == device)
        assert own, f"nobody used device {device}"
        assert all(end <= later for (_, end), (later, _) in pairwise(own))


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_gives_its_device_back(copy: Path, sign: signal.Signals) -> None:
    first = start(copy, 60, "0")
    running(copy, 1)
    second = start(copy, 0, "0")
    time.sleep(0.5)
    assert second.poll() is None
    kill(first, sign)
    wait(second)
    assert [name for name, *_ in ended(copy)] == ["0"]


def test_who_waits_says_for_whom(copy: Path) -> None:
    first = start(copy, 4, "0")
    running(copy, 1)
    second = start(copy, 0, "0")
    assert f"train waits for a device; in use by {first.pid} (train 4)" in wait(second)
    wait(first)


def test_stages_that_compute_nothing_do_not_wait(copy: Path) -> None:
    first = start(copy, 60, "0")
    running(copy, 1)
    wait(start(copy, 0, "0", "report"))
    kill(first)


def test_shares_of_the_cores_and_no_lease(copy: Path) -> None:
    for devices in ("cpu,cpu", ""):
        wait(start(copy, 0, devices))
    half = str(max(len(os.sched_getaffinity(0)) // 2, 1))
    outside = os.environ.get("CUDA_VISIBLE_DEVICES", "all")
    assert sorted((name, threads) for name, _, _, threads in ended(copy)) == sorted(
        [("", half), (outside, "")]
    )


def test_devices_are_named_by_the_setting_else_by_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.delenv("OMGSR_DEVICES", raising=False)
    assert launch.devices() == ["2", "3"]
    monkeypatch.setenv("OMGSR_DEVICES", "0, 0,GPU-8a:1")
    assert launch.devices() == ["0", "0", "GPU-8a:1"]
    monkeypatch.setenv("OMGSR_DEVICES", "../0")
    with pytest.raises(ValueError, match=r"OMGSR_DEVICES: got '\.\./0', allowed"):
        launch.devices()


@pytest.mark.parametrize(
    ("stage", "options", "count"),
    [
        ("report", "", 0),
        ("infer", "--nproc_per_node 3", 1),
        ("train", "", 1),
        ("train", "--nnodes 2 --nproc_per_node 3 --node_rank 0", 3),
        ("train", "--nproc-per-node=2", 2),
        ("train", "--nproc_per_node gpu", 4),
        ("train", "--nproc_per_node 9", 4),
    ],
)
def test_training_takes_as_many_as_torchrun_starts(stage: str, options: str, count: int) -> None:
    assert launch.wanted(stage, options, ["0", "1", "2", "3"]) == count


def test_one_device_twice_has_two_places(copy: Path) -> None:
    taken = launch.lease(["0", "0", "1"], 3)
    assert [entry for entry, _ in taken] == ["0", "0", "1"]
    assert len({path.name for path in launch.places(["0", "0", "1"])}) == 3
    for _, descriptor in taken:
        os.close(descriptor)
    assert [entry for entry, _ in launch.lease(["0", "0", "1"], 1)] == ["0"]


@pytest.mark.parametrize(
    ("settings", "threads", "count"),
    [
        ({"exact": True, "train": {"accumulate": 2}}, "", 2),
        ({"exact": True, "train": {"accumulate": 3}}, "", 3),
        ({"exact": True, "train": {"accumulate": 16}}, "", 4),
        ({"exact": True, "train": {"accumulate": 16}}, "2", 2),  # the share of a lease
        ({"exact": True, "train": {"accumulate": 1}}, "", 1),
        ({"exact": False, "train": {"accumulate": 16}}, "", 1),
        ({"exact": True, "train": "wrong"}, "", 1),
        ({}, "", 1),
    ],
)
def test_a_training_without_a_gpu_has_a_process_a_core(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], threads: str, count: int
) -> None:
    monkeypatch.setattr(launch, "cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    expected = f"--standalone --nproc-per-node={count}" if count > 1 else ""
    assert launch.crew(settings) == expected

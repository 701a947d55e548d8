"""Two real processes on gloo train the model that one trains alone."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from omgsr.core import exact
from omgsr.core.parallel import one_thread
from omgsr.evaluation import metrics
from omgsr.models.backbones import from_folder
from omgsr.training import sharding
from omgsr.training.processes import Processes
from omgsr.training.trainer import fit
from omgsr.training.validation import Validator
from tests.helpers import flow_hub, flow_linked, models, ranks
from tests.helpers.closeness import apart, assert_same_gradients

EXACT = exact.ENVIRONMENT.items() <= os.environ.items()
"""Whether the kernels are those that add alike wherever and by whomever they are called."""


def launch(checkout: Path, *words: str | Path, processes: int = 2) -> str:
    """Runs tests/helpers/ranks.py in several processes, as stages/run.sh does with OMGSR_LAUNCH."""
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "tests.helpers.ranks", *map(str, words)],
        cwd=checkout, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(autouse=True)
def a_thread_as_each_process_has() -> Iterator[None]:
    """More of them round products of matrices otherwise."""
    with one_thread():
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    models.write_pairs(folder, 8)
    return folder


@pytest.fixture(scope="module")
def two(checkout: Path, tiny: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What both of two processes saw, each with two passes a step."""
    out = tmp_path_factory.mktemp("ranks")
    launch(checkout, "train", tiny, data, out)
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def test_every_gradient_is_the_same_in_both_processes(two: Any) -> None:
    """Those of the encoder's adapter too, which the official code does not average (T1)."""
    for first, second in zip(two[0]["steps"], two[1]["steps"], strict=True):
        one, other = flat(first["gradients"]), flat(second["gradients"])
        assert one.keys() == other.keys()
        assert len(one) > 100
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert first["terms"] == second["terms"]
    states = [flat(one["state"]) for one in two]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def assert_same_training(together: Any, single: Any) -> None:
    """What a process of several saw is what one alone saw: to the last bit where kernels are exact.

    Every pass is computed by one thread, and gradients and terms of the passes are added in the
    order of the step's passes, whoever computed them. Other kernels were seen to round otherwise in
    two processes (AVX-512, MKL_CBWR=AUTO), by a few times 2^-24 of the first step's gradients; 1e-5
    is a hundred times that. AdamW then moves every weight by about the learning rate, whatever its
    gradient's size: where that is rounding alone, its sign is too, and one of n such weights takes
    the movement 2 / sqrt(n) apart. 0.1 allows for 20 of the 9,000 adapter weights, and 0.05 for
    what they do to later gradients. Pairs or noises of others, or not added, take both 1 apart.
    """
    if EXACT:
        assert_same_bits(together, single)
    for number, (a, b) in enumerate(zip(together["steps"], single["steps"], strict=True)):
        assert a["gradients"].keys() == b["gradients"].keys()
        for part, expected in b["gradients"].items():
            if number == 0:
                assert_same_gradients(a["gradients"][part], expected, 1e-5)
            assert apart(a["gradients"][part], expected) < 0.05, (number, part)
        own = {k: v for k, v in b["terms"].items() if not k.startswith("grad/")}
        near = pytest.approx(own, rel=1e-5 if number == 0 else 1e-3)
        assert {k: a["terms"][k] for k in own} == near
    for part, expected in single["moved"].items():
        assert apart(together["moved"][part], expected) < 0.1, part


def assert_same_bits(together: Any, single: Any) -> None:
    for a, b in zip(together["steps"], single["steps"], strict=True):
        one, other = flat(a["gradients"]), flat(b["gradients"])
        assert one.keys() == other.keys()
        assert [name for name in one if not torch.equal(one[name], other[name])] == []
        assert a["terms"] == b["terms"]
    one, other = flat(together["moved"]), flat(single["moved"])
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_two_processes_follow_one_with_twice_the_accumulation(
    two: Any, tiny: Path, data: Path
) -> None:
    alone = ranks.seen(ranks.trainer(tiny, Processes(), ema=0.9), ranks.pairs(data))
    assert set(alone["moved"]) == {"generator", "heads", "average"}
    assert_same_training(two[0], alone)


_FIRST, *_LATER = flow_hub.KINDS
_OTHERS = [pytest.param(kind, marks=pytest.mark.slow) for kind in _LATER]


@pytest.mark.parametrize("kind", [_FIRST, *_OTHERS])
def test_shards_of_a_frozen_base_train_the_same_adapters(
    checkout: Path, data: Path, tmp_path: Path, kind: str
) -> None:
    """FSDP2: a half of the denoiser in each process, gathered block by block."""
    _, foundation = flow_linked.write(tmp_path, kind)
    launch(checkout, "shard", foundation, data, tmp_path)
    both = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    made = ranks.trainer(foundation, Processes(), ema=0.9)
    whole = ranks.kept_weights(made)
    alone = ranks.seen(made, ranks.pairs(data))
    assert sum(one["held"] for one in both) == pytest.approx(whole, rel=0.05)
    assert max(one["held"] for one in both) < 0.55 * whole
    for one in both:
        for a, b in zip(one["steps"], alone["steps"], strict=True):
            for part, expected in b["gradients"].items():
                assert_same_gradients(a["gradients"][part], expected, 1e-4)
    assert both[0]["val/psnr"] == both[1]["val/psnr"]
    check = Validator(ranks.pairs(data).rows[:5], 4, metrics.load_all(["psnr"])[0])
    assert both[0]["val/psnr"] == pytest.approx(check(made.generator)["val/psnr"], abs=0.02)


def test_shards_need_several_processes_and_whole_numbers(tiny: Path, tmp_path: Path) -> None:
    denoiser = models.trainer(tiny).generator.backbone.denoiser
    with pytest.raises(ValueError, match=r"train\.shard: true, but there is one process"):
        sharding.shard(denoiser, Processes())
    _, foundation = flow_linked.write(tmp_path, "flux1-dev")
    quantised = from_folder.load(foundation, quantise="nf4").denoiser
    with pytest.raises(ValueError, match=r"weights in 4 bits are not shared"):
        sharding.shard(quantised, Processes(count=2))


def test_gradients_that_are_reduced_as_on_gpus_are_near(
    checkout: Path, tiny: Path, data: Path, two: Any, tmp_path: Path
) -> None:
    """One sum of each process and then of both: the same in both, and near that of all passes.

    Four passes in another order differ by a few times 2^-24; 1e-5 is a hundred times that.
    """
    launch(checkout, "reduce", tiny, data, tmp_path)
    both = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    states = [flat(one["state"]) for one in both]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    for part, expected in two[0]["steps"][0]["gradients"].items():
        assert_same_gradients(both[0]["steps"][0]["gradients"][part], expected, 1e-5)


def test_two_machines_of_one_process_each_are_two_processes(
    checkout: Path, tiny: Path, data: Path, two: Any, tmp_path: Path
) -> None:
    """As the README starts them: the same options on both but for --node_rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    options = ["--nnodes", "2", "--nproc_per_node", "1", "--master_addr", "127.0.0.1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", *options, "--master_port", port]
    words = ["-m", "tests.helpers.ranks", "train", str(tiny), str(data), str(tmp_path)]
    machines = [
        subprocess.Popen(
            [*torchrun, "--node_rank", str(rank), *words],
            cwd=checkout, env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [machine.communicate(timeout=300)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], "\n".join(said)
    for rank in range(2):
        found = flat(torch.load(tmp_path / f"rank{rank}.pt", weights_only=True)["state"])
        wanted = flat(two[rank]["state"])
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_two_processes_distil_as_one(
    checkout: Path, tiny: Path, data: Path, tmp_path: Path
) -> None:
    """The regulariser's gradient is averaged too, and both processes hold the same one."""
    launch(checkout, "distil", tiny, data, tmp_path)
    both = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    states = [flat(one["state"]) for one in both]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    alone = ranks.trainer(tiny, Processes(), ema=0.9, losses=ranks.DISTILLED)
    seen = ranks.seen(alone, ranks.pairs(data))
    assert {"vsd", "regulariser"} < set(seen["steps"][0]["terms"])
    assert set(seen["moved"]) == {"generator", "regulariser", "average"}
    assert_same_training(both[0], seen)


def test_two_processes_validate_as_one(
    checkout: Path, tiny: Path, data: Path, tmp_path: Path
) -> None:
    """Three of five pairs and two: both know the scores of all, and none waits for the other."""
    launch(checkout, "validate", tiny, data, tmp_path)
    both = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert both[0] == both[1]
    made = ranks.trainer(tiny, Processes(), ema=0.9, **ranks.VALIDATED)
    alone = ranks.validated(made, tmp_path / "alone", data)
    assert len(alone) == ranks.PLAN["steps"]
    for found, expected in zip(both[0], alone, strict=True):
        assert {"val/psnr", "val/ssim"} < set(expected)
        assert found == (expected if EXACT else pytest.approx(expected, rel=1e-3))


def test_gradients_would_differ_if_they_were_not_averaged(tiny: Path, data: Path) -> None:
    """Those of the two processes are clearly others: the bounds above can fail."""
    found = []
    for rank in range(2):
        made, pairs = ranks.trainer(tiny, Processes(), accumulate=2, steps=1), ranks.pairs(data)
        shift = {0: [0, 2], 1: [1, 3]}[rank]
        batches = [pairs[number, number] for number in shift]
        made.update([type(b)(b.x_lq[None], b.x_hq[None], [b.names]) for b in batches])
        found.append([p.grad for p in made._adapters if p.grad is not None])
    assert apart(*found) > 0.5


def test_both_stop_when_one_meets_a_loss_that_is_not_finite(
    checkout: Path, tiny: Path, data: Path, tmp_path: Path
) -> None:
    launch(checkout, "nan", tiny, data, tmp_path)
    said = [(tmp_path / f"said{rank}.txt").read_text() for rank in range(2)]
    assert all(text.startswith("0 step 1: the term") for text in said)
    assert "another process" in said[0]
    assert "'lrr' is nan" in said[1]
    assert json.loads((tmp_path / "non_finite-1.json").read_text())["pairs"] == ["image1_0"]


def test_an_accumulation_that_cannot_be_shared_is_refused(tiny: Path) -> None:
    settings = models.settings(accumulate=4)
    assert [settings.share(n) for n in (1, 2, 4)] == [4, 2, 1]
    with pytest.raises(ValueError, match=r"train.accumulate: 4 .* shared by 3 processes"):
        settings.share(3)


def test_processes_that_do_not_find_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = SimpleNamespace(process_index=0, num_processes=1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("omgsr.training.processes.Accelerator", lambda cpu: alone)
    with pytest.raises(RuntimeError, match=r"2 processes were started, but accelerate found 1"):
        Processes.start()


def test_alone_nothing_is_sent(tiny: Path, data: Path) -> None:
    alone = Processes()
    assert (alone.rank, alone.count, alone.main, alone.device.type) == (0, 1, True, "cpu")
    value = torch.ones(2)
    assert alone.sum(value) is value
    assert alone.in_order(value) is value
    made = ranks.trainer(tiny, alone, steps=1)
    assert len(list(fit(made, ranks.pairs(data)))) == 1


def flat(state: Any, name: str = "") -> dict[str, torch.Tensor]:
    """Every tensor of a state by its path."""
    if isinstance(state, torch.Tensor):
        return {name: state}
    items: Any = ()
    if isinstance(state, dict):
        items = state.items()
    elif isinstance(state, list | tuple):
        items = enumerate(state)
    return {k: v for key, value in items for k, v in flat(value, f"{name}{key}.").items()}


def test_a_process_ends_with_the_torchrun_that_started_it() -> None:
    """Killed outright, torchrun leaves its processes, which have sessions of their own."""
    child = "import os; print(os.getpid(), flush=True); from omgsr.training import processes as p; "
    child += "p._end_with(int(os.environ[p.TORCHRUN]))"
    code = "import os, subprocess, sys; os.environ['OMGSR_TORCHRUN'] = str(os.getpid()); "
    code += f"subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        process.wait(timeout=30)

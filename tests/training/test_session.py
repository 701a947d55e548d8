"""A killed run continues to the same bytes; a checkpoint holds data, never code."""

import math
import os
import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from omgsr.core import checkpoints, files
from omgsr.core.checkpoints import CheckpointError
from omgsr.data.datasets import Pairs
from omgsr.data.manifest import Row
from omgsr.method import lora
from omgsr.training.session import Session, fingerprint
from omgsr.training.trainer import NonFiniteLoss, fit
from tests.helpers import models


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return models.write_pairs(tmp_path_factory.mktemp("pairs"), 5, side=32)


def start(tiny: Path, work: Path, **changes: Any) -> Session:
    """A new process in all but name: fresh models, another state of the global generators."""
    torch.manual_seed(int.from_bytes(os.urandom(2), "big"))
    plan = {
        "steps": 5, "batch": 1, "accumulate": 2, "clip_grad": 1.0, "lr_schedule": "cosine",
        "checkpoint_every": 2,
    }  # fmt: skip
    trainer = models.trainer(tiny, **(plan | changes))
    return Session(trainer=trainer, work=work)


def run(session: Session, rows: list[Row], until: int = 99, crop: int | None = 16) -> None:
    pairs = Pairs(rows, scale=4, crop=crop, seed=7)
    for terms in session.follow(fit(session.trainer, pairs)):
        if terms["step"] == until:
            return


def outputs(session: Session, folder: Path) -> dict[str, bytes]:
    backbone = session.trainer.generator.backbone
    lora.save(backbone.vae.encoder, folder / "encoder")
    lora.save(backbone.denoiser, folder / "denoiser")
    session.write_history(folder / "history.csv")
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("latent", ["mode", "sample"])
@pytest.mark.parametrize("killed", [2, 3, 5])
def test_a_killed_run_ends_in_the_same_bytes(
    tiny: Path, tmp_path: Path, rows: list[Row], latent: str, killed: int
) -> None:
    """Killed at the last step before the first checkpoint, after it, and after the second."""
    whole = start(tiny, tmp_path / "whole", latent=latent)
    run(whole, rows)
    run(start(tiny, tmp_path / "cut", latent=latent), rows, until=killed)
    again = start(tiny, tmp_path / "cut", latent=latent)
    assert again.trainer.step == (killed - 1) // 2 * 2
    run(again, rows)
    expected, got = (outputs(s, tmp_path / n) for s, n in ((whole, "a"), (again, "b")))
    assert set(got) == set(expected)
    assert len(got) == 5
    for name in expected:
        assert got[name] == expected[name], name


def test_resuming_twice_and_the_heads(tiny: Path, tmp_path: Path, rows: list[Row]) -> None:
    whole = start(tiny, tmp_path / "whole")
    run(whole, rows)
    for until in (3, 5):
        again = start(tiny, tmp_path / "cut")
        run(again, rows, until=until)
    heads, expected = (s.trainer.discriminator.state_dict() for s in (again, whole))
    assert all(torch.equal(heads[name], expected[name]) for name in expected)
    assert again.history == whole.history


def test_history_keeps_every_nth_step_and_the_last(
    tiny: Path, tmp_path: Path, rows: list[Row]
) -> None:
    session = start(tiny, tmp_path, log_every=3)
    run(session, rows)
    session.write_history(tmp_path / "history.csv")
    table = pd.read_csv(tmp_path / "history.csv")
    assert table["step"].tolist() == [3, 5]
    assert set(table) == {"step", "generator", "d_fake", "d_real", *models.WEIGHTS}
    weighted = sum(table[name] * weight for name, weight in models.WEIGHTS.items())
    assert weighted.tolist() == pytest.approx(table["generator"].tolist(), rel=1e-5)


def test_a_step_is_done_with_before_its_checkpoint_is_written(
    tiny: Path, tmp_path: Path, rows: list[Row]
) -> None:
    """Else a kill between the two would lose the preview of that step."""
    session, seen = start(tiny, tmp_path), []
    for terms in session.follow(fit(session.trainer, Pairs(rows, 4, None, 0))):
        state = checkpoints.load(tmp_path / "checkpoint.pt")
        seen.append((terms["step"], state["trainer"]["step"] if state else None))
    assert seen == [(1, None), (2, None), (3, 2), (4, 2), (5, 4)]


def test_steps_pass_through_unchanged(tiny: Path, tmp_path: Path) -> None:
    session = start(tiny, tmp_path)
    steps = [{"step": 1.0, "generator": 2.0}, {"step": 2.0, "generator": 1.0}]
    assert list(session.follow(iter(steps))) == steps


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert checkpoints.load(tmp_path / "checkpoint.pt") is None


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_a_damaged_checkpoint_is_named_with_what_to_do(
    tiny: Path, tmp_path: Path, rows: list[Row], keep: float
) -> None:
    run(start(tiny, tmp_path), rows, until=3)
    path = tmp_path / "checkpoint.pt"
    data = path.read_bytes()
    path.write_bytes(data[: int(keep if keep > 1 else keep * len(data))])
    with pytest.raises(CheckpointError, match=r"checkpoint.pt cannot be read.*remove it") as caught:
        start(tiny, tmp_path)
    assert "\n" not in str(caught.value)


def test_no_flipped_bit_of_a_checkpoint_changes_what_is_loaded(tmp_path: Path) -> None:
    """torch itself does not look at the checksums that it writes."""
    state, path = {"weights": torch.arange(3000.0), "step": 4}, tmp_path / "checkpoint.pt"
    checkpoints.save(tmp_path / "checkpoint.pt", state)
    whole, refused = path.read_bytes(), 0
    for at in range(40, len(whole), 97):
        data = bytearray(whole)
        data[at] ^= 4
        path.write_bytes(data)
        try:
            found = checkpoints.load(tmp_path / "checkpoint.pt")
        except CheckpointError:
            refused += 1
        else:
            assert found is not None
            assert torch.equal(found["weights"], state["weights"])
    assert refused > 100


def test_a_full_disk_is_said_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "checkpoint.pt", {"step": 4})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="no room to write it"):
            checkpoints.save(tmp_path / "checkpoint.pt", {"weights": torch.zeros(9000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoints.load(tmp_path / "checkpoint.pt") == {"step": 4}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("until", [3, 99])
def test_a_folder_that_is_deleted_meanwhile_is_said_and_leaves_no_checkpoint(
    tiny: Path, tmp_path: Path, rows: list[Row], until: int
) -> None:
    """Else the next run would go on without the pictures of the steps before."""
    work, held = tmp_path / "work", tmp_path / "held"
    work.mkdir()
    session = start(tiny, work, checkpoint_every=2 if until == 3 else 50)
    work.rename(held)  # as if deleted; the stage has it open, so that no other is the same
    files.write_text(work / "previews" / "later", "")
    goes_on = (lambda: run(session, rows, until=3)) if until == 3 else session.finish
    with pytest.raises(CheckpointError, match="was deleted while the training ran"):
        goes_on()
    assert checkpoints.load(work / "checkpoint.pt") is None


class Payload:
    """Runs a function when it is unpickled, as an attacker's file would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    torch.save({"trainer": Payload(trap)}, tmp_path / "checkpoint.pt")
    torch.load(tmp_path / "checkpoint.pt", weights_only=False)
    assert trap.exists()  # the payload works
    trap.unlink()
    with pytest.raises(CheckpointError, match="remove it") as caught:
        checkpoints.load(tmp_path / "checkpoint.pt")
    assert not trap.exists()
    assert "\n" not in str(caught.value)


def test_the_last_checkpoint_replaces_the_one_before(
    tiny: Path, tmp_path: Path, rows: list[Row]
) -> None:
    run(start(tiny, tmp_path), rows)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    state = checkpoints.load(tmp_path / "checkpoint.pt")
    assert state is not None
    assert state["trainer"]["step"] == 4
    assert [terms["step"] for terms in state["history"]] == [1, 2, 3, 4]


def test_the_fingerprint_names_what_decides_the_bytes(tmp_path: Path) -> None:
    rows = models.write_pairs(tmp_path, 2)
    values = {"lr": 1e-4, "losses": {"l1": 1.0}}
    first = fingerprint(values, rows)
    assert first == fingerprint(dict(reversed(values.items())), list(rows))
    assert len(first) == 16
    others = [
        fingerprint({**values, "lr": 2e-4}, rows),
        fingerprint({**values, "losses": {"l1": 2.0}}, rows),
        fingerprint(values, rows[::-1]),
        fingerprint(values, [rows[0], replace(rows[1], top=4)]),
    ]
    lq = Path(rows[1].lq)
    lq.write_bytes(lq.read_bytes() + b"\0")
    others.append(fingerprint(values, rows))
    assert len({first, *others}) == 6


def scores_of(values: list[float]) -> Any:
    """A validation that gives these values, one after the other."""
    left = iter(values)
    return lambda generator: {"val/psnr": next(left)}


def validation(metric: str) -> dict[str, Any]:
    """Every second step; what is scored, and how, is the test's own."""
    return {"images": 1, "pairs": 1, "every": 2, "metrics": [metric]}


def test_validation_rows_and_the_last_step(tiny: Path, tmp_path: Path, rows: list[Row]) -> None:
    plan = {"gradient_norms_every": 3, "log_every": 100, "validation": validation("psnr")}
    session = start(tiny, tmp_path, **plan)
    session.validate = scores_of([1.0, 2.0, 3.0])
    run(session, rows)
    session.write_history(tmp_path / "history.csv")
    table = pd.read_csv(tmp_path / "history.csv").set_index("step")
    assert table["val/psnr"].dropna().to_dict() == {2: 1.0, 4: 2.0, 5: 3.0}
    assert table["grad/lrr"].dropna().index.tolist() == [3]
    assert session.finish() == {"final": "last", "final_step": 5}


@pytest.mark.parametrize("metric", ["psnr", "niqe"])
@pytest.mark.parametrize("killed", [None, 5])
@pytest.mark.parametrize("first", [5.0, math.nan, math.inf, -math.inf])
def test_the_best_validation_gives_the_adapters(
    tiny: Path, tmp_path: Path, rows: list[Row], metric: str, killed: int | None, first: float
) -> None:
    """Highest PSNR or lowest NIQE, also where the run was killed after its best step.

    A score that is not finite is none.
    """
    seen: dict[int, list[torch.Tensor]] = {}
    values = {2: first, 4: 7.0, 5: 6.0} if metric == "psnr" else {2: first, 4: 3.0, 5: 4.0}

    def begin() -> Session:
        session = start(tiny, tmp_path, final=metric, validation=validation(metric))

        def validate(generator: Any) -> dict[str, float]:
            step = session.trainer.step
            seen[step] = session.trainer.adapters()
            return {f"val/{metric}": values[step]}

        session.validate = validate
        return session

    session = begin()
    if killed:
        run(session, rows, until=killed)
        session = begin()
        assert session.trainer.step == 4
        assert session.best is not None
    run(session, rows)
    assert session.finish() == {"final": metric, "final_step": 4}
    assert all(map(torch.equal, session.trainer.adapters(), seen[4]))
    assert not all(map(torch.equal, seen[4], seen[5]))


def test_an_average_survives_a_kill(tiny: Path, tmp_path: Path, rows: list[Row]) -> None:
    whole = start(tiny, tmp_path / "whole", ema=0.9)
    run(whole, rows)
    run(start(tiny, tmp_path / "cut", ema=0.9), rows, until=4)
    again = start(tiny, tmp_path / "cut", ema=0.9)
    run(again, rows)
    raw = again.trainer.adapters()
    for session in (whole, again):
        session.finish()
    assert all(map(torch.equal, whole.trainer.adapters(), again.trainer.adapters()))
    assert not all(map(torch.equal, raw, again.trainer.adapters()))


def test_the_pairs_of_a_loss_that_is_not_finite_are_saved(
    tiny: Path, tmp_path: Path, rows: list[Row]
) -> None:
    session = start(tiny, tmp_path, losses={"l1": 1e39})
    with pytest.raises(NonFiniteLoss):
        run(session, rows)
    saved = files.read_json(tmp_path / "non_finite-0.json")
    assert saved["term"] == "generator"
    assert saved["step"] == 1
    assert saved["pairs"][0] in {row.name for row in rows}

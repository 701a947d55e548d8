"""AdamW with 8-bit moments, and the average of the adapters."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from omgsr.training import memory
from tests.helpers import models


def test_8_bit_moments_train_nearly_as_32_bit_ones() -> None:
    found = {}
    for name in ("adamw", "adamw8bit"):
        weight = nn.Parameter(torch.zeros(64, 128))
        goal = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
        optimiser = memory.optimiser(name, [weight], lr=0.1, weight_decay=0.0)  # type: ignore[arg-type]
        for _ in range(60):
            optimiser.zero_grad()
            (weight - goal).square().sum().backward()
            optimiser.step()
        found[name] = float((weight - goal).square().mean().detach())
        moments = [v for v in optimiser.state[weight].values() if torch.is_tensor(v)]
        assert any(v.dtype == torch.uint8 for v in moments) == (name == "adamw8bit")
    assert found["adamw"] < 0.05
    assert found["adamw8bit"] < 0.05


def test_a_run_with_8_bit_moments_resumes_exactly(tiny: Path) -> None:
    plan = {"optimiser": "adamw8bit", "steps": 4}
    whole, cut = (models.trainer(tiny, **plan) for _ in range(2))
    for step in range(4):
        whole.update([models.batch(step)])
        if step < 2:
            cut.update([models.batch(step)])
    again = models.trainer(tiny, **plan)
    again.load_state_dict(cut.state_dict())
    for step in (2, 3):
        again.update([models.batch(step)])
    assert all(map(torch.equal, again.adapters(), whole.adapters()))


def test_without_bitsandbytes_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match=r"train.optimiser: adamw8bit needs bitsandbytes"):
        memory.optimiser("adamw8bit", [nn.Parameter(torch.zeros(2))], 0.1, 0.0)


def test_the_average_by_hand(tiny: Path) -> None:
    """Over real steps, whose third decay, 0.25, is limited to 0.2, and after a resume."""
    cut, again = (models.trainer(tiny, ema=0.2, lr=1e-2) for _ in range(2))
    expected = torch.zeros(())
    for step in range(4):
        trainer = again if step == 3 else cut
        if step == 3:
            again.load_state_dict(cut.state_dict())
        trainer.update([models.batch(step)])
        decay = min(0.2, (1 + step) / (10 + step)) if step else 0.0
        values = torch.cat([value.flatten() for value in trainer.adapters()])
        expected = decay * expected + (1 - decay) * values
    with again.result():
        averaged = torch.cat([value.flatten() for value in again.adapters()])
    torch.testing.assert_close(averaged, expected, rtol=1e-5, atol=1e-7)
    assert (averaged - values).abs().max() > 1e-3


def test_the_average_is_what_a_training_gives(tiny: Path) -> None:
    trainer = models.trainer(tiny, ema=0.9, lr=1e-2)
    for step in range(3):
        trainer.update([models.batch(step)])
    raw = trainer.adapters()
    with trainer.result() as generator:
        given = [p.detach().clone() for p in generator.adapter_parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(raw, given, strict=True) if a.abs().max() > 0)
    assert all(map(torch.equal, raw, trainer.adapters()))

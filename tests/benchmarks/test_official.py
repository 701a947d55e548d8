"""The sizes in README's table: found where a setting changes something, zero where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import official, official_gradients, official_pictures
from benchmarks.official_arithmetic import count, optimum, padding, shrink, snr
from benchmarks.official_gradients import CASES, Step
from omgsr import config
from omgsr.data.datasets import Batch
from omgsr.method.timestep import find, snr_array
from omgsr.training.settings import Settings
from tests.helpers import models

PRESETS = config.load(official.ROOT, ready=False).degradation
LIGHT = PRESETS["light"]


@pytest.fixture(scope="module")
def pictures() -> official_pictures.Pictures:
    """Three photographs of 64 px."""
    whole = official_pictures.photographs()
    names = ("astronaut", "coffee", "rocket")
    return {name: np.ascontiguousarray(whole[name][192:256, 192:256]) for name in names}


def step(tiny: Path) -> tuple[Step, Settings]:
    generator, features = models.generator(tiny, trained=0.3), models.feature_network(tiny)
    with torch.no_grad():
        for parameter in features.parameters():
            parameter.mul_(2)
    made = Step(generator=generator, features=features, weights=models.WEIGHTS)
    return made, models.settings()


def pair(side: int = 64) -> Batch:
    return models.batch(count=1, side=side)


def test_equal_presets_change_no_picture(pictures: official_pictures.Pictures) -> None:
    for found in official_pictures.change_of_lq(pictures, LIGHT, LIGHT, 2):
        assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_the_imitated_codec_roughens_chroma(pictures: official_pictures.Pictures) -> None:
    rough, _ = official_pictures.change_of_lq(pictures, LIGHT, replace(LIGHT, jpeg="diff"), 8)
    assert rough.low > 0
    _, near = official_pictures.change_of_lq(pictures, PRESETS["realesrgan"], LIGHT, 8)
    assert near.low > 0


def test_random_modes_take_fidelity(pictures: official_pictures.Pictures) -> None:
    assert official_pictures.change_of_x_lq(pictures, LIGHT, 8).mean < 0


def test_t_star_moves_with_what_it_is_of(tiny: Path, pictures, monkeypatch) -> None:
    monkeypatch.setattr(official_pictures, "ENCODED", 32)
    backbone = models.backbone(tiny)
    snr = snr_array(backbone.schedule.snr())
    found = [
        official_pictures.moments(backbone, pictures, LIGHT, 1, way)
        for way in ("bicubic", "bicubic", "random")
    ]
    first, same, other = (find(*each, snr, bootstrap=10, seed=0).t for each in found)
    assert first == same == official_pictures.of_batches(*found[0], snr, 1)
    assert first != other
    assert first != official_pictures.of_batches(*found[0], snr, 3)
    assert official_pictures.sampling_noise(backbone, pictures, LIGHT, 1).low > 0


def test_a_setting_that_stays_changes_no_gradient(tiny: Path, monkeypatch) -> None:
    step_, plan = step(tiny)
    monkeypatch.setitem(CASES, "nothing", ("adapters", {}, {"real_label": plan.real_label}))
    assert official_gradients.changes(step_, [pair()], plan, ["nothing"])["nothing"].mean == 0


def test_every_case_changes_its_gradient(tiny: Path) -> None:
    step_, plan = step(tiny)
    found = official_gradients.changes(step_, [pair()], plan)
    assert list(found) == list(CASES)
    for name, value in found.items():
        assert value.mean > 0, name
    assert found["precision"].mean < found["precision, all bf16"].mean


def test_of_the_latent_the_sampling_alone_is_measured(tiny: Path, monkeypatch) -> None:
    """Where posteriors have next to no variance, a sample is the mode, and eps the same."""
    step_, plan = step(tiny)
    backbone = step_.generator.backbone
    moments = backbone.moments

    def narrow(x: torch.Tensor) -> torch.Tensor:
        mean = moments(x).chunk(2, dim=1)[0]
        return torch.cat([mean, torch.full_like(mean, -25)], dim=1)

    loud = official_gradients.changes(step_, [pair()], plan, ["latent"])["latent"].mean
    monkeypatch.setattr(type(backbone), "moments", lambda _, x: narrow(x))
    quiet = official_gradients.changes(step_, [pair()], plan, ["latent"])["latent"].mean
    assert quiet < 0.1 < loud


def test_the_heads_of_both_kinds_reach_the_picture(tiny: Path) -> None:
    x = torch.nn.functional.interpolate(pair().x_hq, size=(384, 384))
    assert official_gradients.ratio_of_heads(models.feature_network(tiny), [x]).mean > 0
    assert official_gradients.outside(step(tiny)[0].generator, [pair()]).high <= 100


def test_the_arithmetic_by_hand() -> None:
    assert optimum(leftover=False) == pytest.approx(0, abs=1e-4)
    assert optimum(leftover=True) == pytest.approx(0.4, abs=1e-3)  # losses are in fp32
    assert shrink(2, 0.1, 0.5) == pytest.approx(1 - 0.95**2)
    assert snr(1, 1) == pytest.approx((1 - 0.00085) / 0.00085, rel=1e-3)
    assert snr(273, 0) == pytest.approx(1.7453, abs=1e-4)  # research/field.md, 3.2
    assert snr(274, 1) == snr(273, 0) < snr(273, 1)
    assert padding(1) == 0
    assert 0 < padding(8) < padding(64)
    assert (count("map"), count("official")) == (5_730_915, 4_729_443)


def test_a_line_of_the_table() -> None:
    rows = list(official.arithmetic())
    assert ("train.weight_decay", "0.255 => 0.003") in [(row[0], row[2]) for row in rows]
    assert {len(row) for row in rows} == {3}

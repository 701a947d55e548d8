"""Sigma of t in flow matching (Eq. 16): the paper's table, diffusers' own, t* on them (Eq. 19)."""

import math

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from omgsr.method import timestep
from omgsr.models.flow_table import FlowTable, shift_at
from omgsr.models.schedule import NoiseSchedule

FLUX = {"num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
        "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
        "max_image_seq_len": 4096}  # fmt: skip
PAPER = FlowTable.from_scheduler(FLUX, 16, 1024, steps=999)


def test_the_papers_timestep_of_flux() -> None:
    """t = 244 of 999 steps shifted for 1024 px: sigma = e^1.15 / (e^1.15 + 999/244 - 1)."""
    schedule = NoiseSchedule.from_flow(PAPER)
    signal, noise = schedule.coefficients(244)
    by_hand = math.exp(1.15) / (math.exp(1.15) + 999 / 244 - 1)
    assert noise == pytest.approx(by_hand, abs=1e-12)
    assert noise == pytest.approx(0.50511, abs=5e-6)
    assert signal + noise == pytest.approx(1, abs=1e-15)
    assert float(schedule.snr()[243]) == pytest.approx(0.95992, abs=1e-5)
    assert schedule.coefficients(1)[1] == pytest.approx(0.00315, abs=5e-6)
    assert schedule.coefficients(273)[1] == pytest.approx(0.54287, abs=5e-6)


def test_the_official_rule_gives_the_same_table() -> None:
    """A scheduler of diffusers asked for 1000 sigmas from 1 to 0, read from their end."""
    s = torch.linspace(1, 0, 1000, dtype=torch.float64)
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(FLUX)
    expected = scheduler.time_shift(1.15, 1.0, s[:-1]).flip(0)  # t = 1..999
    torch.testing.assert_close(PAPER.sigmas()[1:], expected[:-1], rtol=0, atol=1e-12)


def test_the_ends_without_signal_or_noise_are_no_timesteps() -> None:
    schedule = NoiseSchedule.from_flow(PAPER)
    assert (schedule.last, schedule.origin, schedule.prediction) == (998, 0, "flow")
    assert len(schedule.snr()) == 998
    assert bool((schedule.snr()[1:] < schedule.snr()[:-1]).all())
    assert bool(schedule.snr().isfinite().all())
    assert float(schedule.snr()[-1]) > 0
    for t in (0, 999):
        with pytest.raises(ValueError, match=rf"timestep {t} is outside 1\.\.998"):
            schedule.coefficients(t)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_static_shift_is_the_schedulers_own_table(shift: float) -> None:
    config = {"num_train_timesteps": 1000, "shift": shift}
    table = FlowTable.from_scheduler(config, 16, None)
    sigmas = FlowMatchEulerDiscreteScheduler.from_config(config).sigmas.double().flip(0)
    torch.testing.assert_close(table.sigmas()[1:], sigmas[:-1], rtol=0, atol=1e-6)
    assert table.as_dict() == {
        "steps": 1000, "rule": "static", "shift": shift, "resolution": None,
    }  # fmt: skip


@pytest.mark.parametrize("rule", ["exponential", "linear"])
@pytest.mark.parametrize("resolution", [256, 512, 1024, 1328])
def test_a_dynamic_shift_is_the_schedulers_at_that_size(rule: str, resolution: int) -> None:
    """Qwen-Image's ends: mu 0.5 at 256 tokens and 0.9 at 8192."""
    config = FLUX | {"max_shift": 0.9, "max_image_seq_len": 8192, "time_shift_type": rule}
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
    mu = 0.5 + 0.4 * ((resolution / 16) ** 2 - 256) / (8192 - 256)
    scheduler.set_timesteps(sigmas=np.linspace(0.999, 0.001, 999), mu=mu)
    table = FlowTable.from_scheduler(config, 16, resolution)
    expected = scheduler.sigmas[:-1].double().flip(0)
    torch.testing.assert_close(table.sigmas()[1:], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("tokens", "mu"), [(256, 0.5), (4096, 1.15), (2176, 0.825)])
def test_mu_is_linear_in_tokens(tokens: int, mu: float) -> None:
    assert shift_at(FLUX, tokens) == pytest.approx(mu, abs=1e-12)


@pytest.mark.parametrize("resolution", [None, 1000])
def test_a_dynamic_shift_needs_a_resolution(resolution: int | None) -> None:
    with pytest.raises(ValueError, match=rf"resolution: got {resolution}.*multiple of 16"):
        FlowTable.from_scheduler(FLUX, 16, resolution)


def test_a_resolution_without_effect_is_refused() -> None:
    with pytest.raises(ValueError, match=r"resolution: got 1024.*set it to null"):
        FlowTable.from_scheduler({"shift": 3.0}, 16, 1024)


def test_another_spacing_is_refused() -> None:
    with pytest.raises(ValueError, match="sets use_karras_sigmas; supported is"):
        FlowTable.from_scheduler({"use_karras_sigmas": True}, 16, None)


def test_a_table_without_inner_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="2 steps or more and a shift above 0, got 1 and 3"):
        FlowTable(steps=1, rule="static", shift=3.0)


@pytest.mark.parametrize("seed", range(5))
def test_the_optimal_timestep_equals_a_search_over_all(seed: int) -> None:
    """Eq. 19: the t in 1..998 with the smallest mean |SNR(z_t) - SNR(z_L)|."""
    rng = np.random.default_rng(seed)
    power, error = rng.lognormal(0, 0.4, 40), rng.lognormal(0, 0.7, 40)
    signal, noise = (1 - PAPER.sigmas()).numpy(), PAPER.sigmas().numpy()
    gaps = [
        np.mean(np.abs(signal[t] ** 2 * power / noise[t] ** 2 - power / error))
        for t in range(1, 999)
    ]
    snr = timestep.snr_array(NoiseSchedule.from_flow(PAPER).snr())
    found = timestep.find(power, error, snr, 50, 0)
    assert found.t == 1 + int(np.argmin(gaps))
    assert found.gap == pytest.approx(min(gaps))
    assert found.low <= found.t <= found.high

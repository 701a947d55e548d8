"""Eqs. 1, 3, 7, 16 and 18 against values worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from omgsr.schedule import NoiseSchedule, Prediction
from tests import models


def two_steps(prediction: Prediction) -> NoiseSchedule:
    """t = 1 has signal 0.8 and noise 0.6: their squares are 0.64 and 0.36."""
    return NoiseSchedule(
        signal=torch.tensor([1.0, 0.8], dtype=torch.float64),
        noise=torch.tensor([0.0, 0.6], dtype=torch.float64),
        prediction=prediction,
    )


def test_golden_values_of_sd21() -> None:
    """field.md 3.2: alpha_bar[273] = 0.63574, s = 1.7453."""
    schedule = NoiseSchedule.from_ddpm(models.scheduler())
    assert len(schedule.signal) == 1000
    assert float(schedule.signal[273] ** 2) == pytest.approx(0.63574, abs=5e-6)
    assert float(schedule.snr()[272]) == pytest.approx(1.7453, abs=5e-5)
    signal, noise = schedule.coefficients(273)
    assert (signal, noise) == pytest.approx((0.7973, 0.6035), abs=5e-5)


def test_snr_starts_at_timestep_one_and_falls() -> None:
    schedule = NoiseSchedule.from_ddpm(models.scheduler())
    snr = schedule.snr()
    alpha_bar = models.scheduler().alphas_cumprod.double().numpy()
    assert snr.shape == (999,)
    np.testing.assert_allclose(snr.numpy(), (alpha_bar / (1 - alpha_bar))[1:], rtol=1e-12)
    assert bool((snr[1:] < snr[:-1]).all())


def test_add_noise_by_hand() -> None:
    z_t = two_steps("epsilon").add_noise(torch.tensor([1.0, -2.0]), torch.tensor([10.0, 5.0]), 1)
    torch.testing.assert_close(z_t, torch.tensor([0.8 + 6.0, -1.6 + 3.0]))


def test_add_noise_equals_the_scheduler_of_diffusers() -> None:
    z, eps = torch.randn(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    scheduler = models.scheduler()
    for t in (1, 273, 999):
        expected = scheduler.add_noise(z, eps, torch.tensor([t]))
        got = NoiseSchedule.from_ddpm(scheduler).add_noise(z, eps, t)
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("prediction", "clean"),
    [
        ("epsilon", (2.0 - 0.6 * 0.5) / 0.8),
        ("v_prediction", 0.8 * 2.0 - 0.6 * 0.5),
        ("flow", 2.0 - 0.6 * 0.5),
    ],
)
def test_predict_clean_by_hand(prediction: Prediction, clean: float) -> None:
    got = two_steps(prediction).predict_clean(torch.tensor([2.0]), torch.tensor([0.5]), 1)
    assert got.item() == pytest.approx(clean)


def true_output(prediction: str, z: torch.Tensor, eps: torch.Tensor, t: int) -> torch.Tensor:
    """What a perfect denoiser gives: eps, v = signal eps - noise z, or eps - z."""
    schedule = NoiseSchedule.from_ddpm(models.scheduler())
    signal, noise = schedule.coefficients(t)
    return {"epsilon": eps, "v_prediction": signal * eps - noise * z}[prediction]


@given(
    t=st.integers(1, 999),
    prediction=st.sampled_from(["epsilon", "v_prediction"]),
    seed=st.integers(0, 1000),
)
def test_predict_clean_inverts_add_noise(t: int, prediction: str, seed: int) -> None:
    schedule = NoiseSchedule.from_ddpm(models.scheduler(prediction))
    rng = torch.Generator().manual_seed(seed)
    z, eps = torch.randn(2, 1, 2, 2, 2, generator=rng, dtype=torch.float64)
    z_t = schedule.add_noise(z, eps, t)
    clean = schedule.predict_clean(z_t, true_output(prediction, z, eps, t), t)
    torch.testing.assert_close(clean, z, rtol=1e-9, atol=1e-9)


def test_flow_matching_is_the_same_formula() -> None:
    """Eqs. 16 to 18: signal 1 - sigma, noise sigma, output eps - z."""
    sigma = torch.linspace(0, 0.75, 4, dtype=torch.float64)
    schedule = NoiseSchedule(signal=1 - sigma, noise=sigma, prediction="flow")
    z, eps = torch.tensor([3.0]), torch.tensor([-1.0])
    z_t = schedule.add_noise(z, eps, 2)
    assert z_t.item() == pytest.approx(0.5 * 3 - 0.5)
    assert schedule.predict_clean(z_t, eps - z, 2).item() == pytest.approx(3)
    assert schedule.snr().tolist() == pytest.approx([9.0, 1.0, 1 / 9])


@pytest.mark.parametrize("t", [-1, 0, 1000, 5000])
def test_a_timestep_outside_the_schedule_is_refused(t: int) -> None:
    schedule = NoiseSchedule.from_ddpm(models.scheduler())
    with pytest.raises(ValueError, match=rf"timestep {t} is outside 1\.\.999"):
        schedule.coefficients(t)


def test_an_unknown_prediction_type_is_refused() -> None:
    scheduler = DDPMScheduler(prediction_type="sample")
    with pytest.raises(ValueError, match="'sample'; supported are epsilon and v_prediction"):
        NoiseSchedule.from_ddpm(scheduler)


def test_coefficients_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        NoiseSchedule(signal=torch.ones(3), noise=torch.ones(2), prediction="epsilon")


def test_ddpm_keeps_the_variance() -> None:
    schedule = NoiseSchedule.from_ddpm(models.scheduler())
    total = schedule.signal.square() + schedule.noise.square()
    assert math.isclose(float((total - 1).abs().max()), 0, abs_tol=1e-12)

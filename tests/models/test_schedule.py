"""Eqs. 1, 3, 7, 16 and 18 against values worked by hand."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from omgsr.method import timestep
from omgsr.models.schedule import NoiseSchedule, Prediction
from tests.helpers import models


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


def counted_from(origin: int) -> NoiseSchedule:
    return NoiseSchedule.from_ddpm(models.scheduler(), origin)


def test_golden_values_of_sd21_counted_from_one() -> None:
    """Sec. 3.1's alpha_bar_274 is the product of 274 factors: index 273, 0.63574, s = 1.7453."""
    schedule = counted_from(1)
    alpha = 1 - models.scheduler().betas.double()
    assert float(alpha[:274].prod()) == pytest.approx(0.63574, abs=5e-6)
    assert schedule.index(274) == 273
    assert schedule.coefficients(274) == counted_from(0).coefficients(273)
    assert schedule.coefficients(274)[0] ** 2 == pytest.approx(0.63574, abs=5e-6)
    assert float(schedule.snr()[274 - 1]) == pytest.approx(1.7453, abs=5e-5)


def test_counted_from_one_the_first_step_is_a_timestep() -> None:
    """alpha_bar_1 = 1 - beta_1 = 1 - 0.00085, and the last timestep is T."""
    schedule = counted_from(1)
    assert schedule.coefficients(1) == pytest.approx(
        (math.sqrt(1 - 0.00085), math.sqrt(0.00085)), rel=1e-4
    )
    assert (schedule.last, counted_from(0).last) == (1000, 999)
    assert (len(schedule.snr()), len(counted_from(0).snr())) == (1000, 999)
    assert torch.equal(schedule.snr()[1:], counted_from(0).snr())


@pytest.mark.parametrize("t", [-1, 0, 1001])
def test_counted_from_one_other_timesteps_are_refused(t: int) -> None:
    with pytest.raises(ValueError, match=rf"timestep {t} is outside 1\.\.1000"):
        counted_from(1).index(t)


@given(t=st.integers(1, 999))
def test_the_origin_is_a_relabelling(t: int) -> None:
    zero, one = counted_from(0), counted_from(1)
    z, eps, z_t = torch.randn(3, 1, 2, 2, 2, generator=torch.Generator().manual_seed(t))
    assert zero.index(t) == one.index(t + 1) == t
    assert torch.equal(zero.add_noise(z, eps, t), one.add_noise(z, eps, t + 1))
    assert torch.equal(zero.predict_clean(z_t, eps, t), one.predict_clean(z_t, eps, t + 1))


@pytest.mark.parametrize("seed", range(5))
def test_the_optimal_timestep_counted_from_one_is_the_next_number(seed: int) -> None:
    """The same moments choose the same step; only at the ends is there one step more."""
    rng = np.random.default_rng(seed)
    power, error = rng.lognormal(0, 0.3, 60), rng.lognormal(-0.6, 0.5, 60)
    zero, one = (
        timestep.find(power, error, timestep.snr_array(counted_from(k).snr()), 50, 0)
        for k in (0, 1)
    )
    assert (one.t, one.low, one.high) == (zero.t + 1, zero.low + 1, zero.high + 1)
    assert (one.gap, one.below, one.above) == (zero.gap, zero.below, zero.above)


@pytest.mark.parametrize("origin", [-1, 2])
def test_another_origin_is_refused(origin: int) -> None:
    with pytest.raises(ValueError, match=f"origin: got {origin}, allowed: 0 or 1"):
        counted_from(origin)


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


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
def test_the_target_is_what_gives_the_clean_latent_back(prediction: str) -> None:
    """predict_clean inverts add_noise with the output that the denoiser is trained to give."""
    signal = torch.linspace(0.99, 0.05, 1000, dtype=torch.float64)
    noise = 1 - signal if prediction == "flow" else (1 - signal.square()).sqrt()
    schedule = NoiseSchedule(signal=signal, noise=noise, prediction=prediction)
    z, eps = torch.randn(2, 1, 4, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    z_t = schedule.add_noise(z, eps, 400)
    torch.testing.assert_close(schedule.predict_clean(z_t, schedule.target(z, eps, 400), 400), z)

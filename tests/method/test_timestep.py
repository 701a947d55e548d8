"""t* in closed form against a search over every timestep, and what is refused."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from omgsr.method import timestep
from omgsr.models.schedule import NoiseSchedule
from tests.helpers import models

SNR = timestep.snr_array(NoiseSchedule.from_ddpm(models.scheduler()).snr())
WIDE = st.floats(1e-9, 1e9)
USUAL = st.floats(0.05, 5)
LATENTS = st.one_of(
    st.lists(st.tuples(WIDE, WIDE), min_size=1, max_size=40),
    st.lists(st.tuples(USUAL, USUAL), min_size=1, max_size=40),
    # Ties: few different values, so that the weighted median is often an interval.
    st.lists(
        st.tuples(st.sampled_from([1.0, 2.0]), st.sampled_from([0.3, 0.5, 1.1])),
        min_size=1,
        max_size=12,
    ),
)


def lognormal(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.lognormal(0, 0.3, count), rng.lognormal(-0.6, 0.5, count)


def searched_gaps(power: Any, error: Any) -> np.ndarray:
    """Eq. 5 as it is printed, for every t: mean_i |alpha_bar P / (1 - alpha_bar) - P / N|."""
    return np.array(
        [np.mean([abs(s * p - p / n) for p, n in zip(power, error, strict=True)]) for s in SNR]
    )


@given(latents=LATENTS)
def test_closed_form_equals_the_search_over_every_timestep(
    latents: list[tuple[float, float]],
) -> None:
    power, error = (np.array(x) for x in zip(*latents, strict=True))
    gaps = searched_gaps(power, error)
    found = timestep.find(power, error, SNR, bootstrap=1, seed=0)
    assert gaps[found.t - 1] <= gaps.min() * (1 + 1e-9)
    assert found.gap == pytest.approx(gaps.min(), rel=1e-9)
    np.testing.assert_allclose(timestep.curve(power, error, SNR), gaps, rtol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_closed_form_finds_the_same_timestep(seed: int) -> None:
    power, error = lognormal(50, seed)
    expected = int(searched_gaps(power, error).argmin()) + 1
    assert timestep.find(power, error, SNR, bootstrap=1, seed=0).t == expected


def test_golden_error_of_timestep_273() -> None:
    """field.md 3.2: t* = 273 belongs to a latent error of 1 / 1.7453 = 0.573."""
    one = timestep.find(np.array([1.0]), np.array([1 / 1.7453]), SNR, bootstrap=1, seed=0)
    assert one.t == 273


def test_the_median_is_weighted_by_power() -> None:
    """One image of power 5 outweighs three of power 1; unweighted, the three would win."""
    error = 1 / SNR[[199, 499, 499, 499]]
    power = np.array([5.0, 1.0, 1.0, 1.0])
    assert timestep.find(power, error, SNR, bootstrap=1, seed=0).t == 200
    assert timestep.find(np.ones(4), error, SNR, bootstrap=1, seed=0).t == 500


@pytest.mark.parametrize(("error", "t"), [(1e12, 999), (1e-12, 1)])
def test_errors_beyond_the_schedule_give_its_ends(error: float, t: int) -> None:
    found = timestep.find(np.ones(3), np.full(3, error), SNR, bootstrap=5, seed=0)
    assert (found.t, found.low, found.high) == (t, t, t)


@given(errors=st.lists(st.one_of(WIDE, USUAL), min_size=1, max_size=30))
def test_each_image_alone(errors: list[float]) -> None:
    error = np.array(errors)
    expected = np.abs(SNR[None] - 1 / error[:, None]).argmin(1) + 1
    np.testing.assert_array_equal(timestep.per_image(error, SNR), expected)


def test_each_image_alone_takes_the_smaller_of_two_equal_timesteps() -> None:
    snr = np.array([4.0, 2.0, 1.0])
    assert timestep.per_image(np.array([1 / 3, 1 / 1.5]), snr).tolist() == [1, 2]


def test_shares_and_count() -> None:
    error = 1 / SNR[[99, 299, 299, 299, 899]]
    found = timestep.find(np.ones(5), error, SNR, bootstrap=10, seed=0)
    assert (found.t, found.images, found.below, found.above) == (300, 5, 0.2, 0.2)


@pytest.mark.parametrize("seed", range(5))
def test_the_interval_contains_t_and_narrows_with_more_images(seed: int) -> None:
    few = timestep.find(*lognormal(30, seed), SNR, bootstrap=300, seed=0)
    many = timestep.find(*lognormal(3000, seed), SNR, bootstrap=300, seed=0)
    assert few.low <= few.t <= few.high
    assert many.low <= many.t <= many.high
    assert 0 < many.high - many.low < (few.high - few.low) / 3


def test_the_interval_is_that_of_explicit_resampling() -> None:
    """Against resampling the images themselves, with another generator."""
    power, error = lognormal(60)
    rng = np.random.default_rng(5)
    picks = rng.integers(60, size=(800, 60))
    plain = [timestep.find(power[p], error[p], SNR, bootstrap=1, seed=0).t for p in picks]
    low, high = np.quantile(plain, [0.025, 0.975])
    found = timestep.find(power, error, SNR, bootstrap=800, seed=0)
    assert abs(found.low - low) <= 6
    assert abs(found.high - high) <= 6


def test_the_interval_depends_on_the_seed_alone() -> None:
    first, again, other = (
        timestep.find(*lognormal(30), SNR, bootstrap=40, seed=s) for s in (1, 1, 2)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.t == other.t


def test_the_order_of_the_images_does_not_matter() -> None:
    power, error = lognormal(40)
    shuffled = np.random.default_rng(0).permutation(40)
    a = timestep.find(power, error, SNR, bootstrap=1, seed=0)
    b = timestep.find(power[shuffled], error[shuffled], SNR, bootstrap=1, seed=0)
    assert (a.t, a.below, a.above) == (b.t, b.below, b.above)
    assert a.gap == pytest.approx(b.gap, rel=1e-12)


def test_moments_by_hand() -> None:
    z_hq = torch.tensor([[[[1.0, 3.0]]], [[[2.0, 0.0]]]])
    z_lq = torch.tensor([[[[2.0, 3.0]]], [[[0.0, 4.0]]]])
    power, error = timestep.moments(z_hq, z_lq)
    assert power.tolist() == [5.0, 2.0]
    assert error.tolist() == [0.5, 10.0]
    assert power.dtype == torch.float64


def test_moments_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="latents differ in shape"):
        timestep.moments(torch.zeros(1, 4, 2, 2), torch.zeros(1, 4, 2, 3))


@pytest.mark.parametrize(
    ("power", "error", "message"),
    [
        ([], [], "needs images"),
        ([1.0], [1.0, 2.0], "needs images"),
        ([1.0, 1.0], [1.0, 0.0], "image 1 has zero latent power or an LQ latent equal"),
        ([0.0, 1.0], [1.0, 1.0], "image 0 has zero latent power"),
        ([1.0], [float("nan")], "not finite"),
        ([float("inf")], [1.0], "not finite"),
    ],
)
def test_moments_without_a_timestep_are_refused(
    power: list[float], error: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        timestep.find(np.array(power), np.array(error), SNR, bootstrap=1, seed=0)


def test_a_schedule_whose_ratio_rises_is_refused() -> None:
    with pytest.raises(ValueError, match="must fall with t"):
        timestep.snr_array(torch.tensor([3.0, 1.0, 2.0]))


def test_the_result_is_plain_numbers() -> None:
    found = timestep.find(*lognormal(10), SNR, bootstrap=10, seed=0)
    read = json.loads(json.dumps(found.as_dict()))
    assert read["t"] == found.t
    assert {"t", "images", "low", "high"} <= set(read)

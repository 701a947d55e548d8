"""Every loss term against a value worked by hand."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from omgsr.method import losses


def log1p_exp(x: float) -> float:
    return math.log1p(math.exp(x))


def bce(logit: float, label: float) -> float:
    """-label log sigmoid(x) - (1 - label) log(1 - sigmoid(x))."""
    p = 1 / (1 + math.exp(-logit))
    return -label * math.log(p) - (1 - label) * math.log(1 - p)


def outputs(**changes: Any) -> losses.Outputs:
    rng = torch.Generator().manual_seed(0)
    image, latent = (torch.randn(2, c, 4, 4, generator=rng) for c in (3, 4))
    values: dict[str, Any] = {
        "x_sr": image, "x_hq": image + 0.25, "z_lq": latent, "z_hq": latent + 2,
        "z_t": latent - 3, "z_sr": latent, "logits": [torch.zeros(2, 1, 1, 1)] * 3,
        "pooled_sr": [image], "pooled_hq": [image], "real_label": 0.8, "period": 2,
    }  # fmt: skip
    return losses.Outputs(**(values | changes))


def test_lrr_and_to_hq_by_hand() -> None:
    z_lq = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    other = torch.tensor([[1.0, 0.0], [0.0, 4.0]]).view(2, 1, 1, 2)
    given = outputs(z_lq=z_lq, z_t=other, z_hq=other + 1)
    terms = losses.generator_terms(given, {"lrr": 1.0, "to_hq": 1.0})
    assert terms["lrr"].item() == pytest.approx((0 + 4 + 9 + 0) / 4)
    assert terms["to_hq"].item() == pytest.approx((1 + 1 + 4 + 1) / 4)


def test_lrr_compares_with_z_t_and_to_hq_with_z_h() -> None:
    terms = losses.generator_terms(outputs(), {"lrr": 1.0, "to_hq": 1.0})
    assert terms["lrr"].item() == pytest.approx(9)
    assert terms["to_hq"].item() == pytest.approx(4)


def test_gan_sums_the_levels_and_averages_each_map() -> None:
    logits = [torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5]]), torch.tensor([[[3.0]]])]
    expected = (bce(1, 0.8) + bce(-2, 0.8)) / 2 + bce(0.5, 0.8) + bce(3, 0.8)
    assert losses.gan(logits, 0.8).item() == pytest.approx(expected, rel=1e-6)


def test_the_soft_label_is_best_met_at_its_logit() -> None:
    """BCE against 0.8 is least where sigmoid(x) = 0.8, not at infinity."""
    x = torch.tensor([[math.log(4.0)]], requires_grad=True)
    losses.gan([x], 0.8).backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(0, abs=1e-7)


def test_the_soft_label_reaches_the_generator_and_the_real_images() -> None:
    logits = [torch.full((2, 1, 2, 2), 1.5)] * 3
    terms = losses.generator_terms(outputs(logits=logits), {"gan": 1.0})
    assert terms["gan"].item() == pytest.approx(3 * bce(1.5, 0.8), rel=1e-6)
    heads = losses.discriminator_terms(logits, logits, 0.8)
    assert heads["d_real"].item() == pytest.approx(3 * bce(1.5, 0.8), rel=1e-6)
    assert heads["d_fake"].item() == pytest.approx(3 * log1p_exp(1.5), rel=1e-6)


def test_logits_of_a_confident_head_do_not_overflow() -> None:
    assert losses.gan([torch.tensor([[-1e4]])], 0.8).item() == pytest.approx(8000)


def dists_by_hand(a: list[list[float]], b: list[list[float]], c: float = 1e-6) -> float:
    """Eq. 11 for one image: lists of channels, each a list of pixels."""
    total = 0.0
    for x, y in zip(a, b, strict=True):
        n = len(x)
        mx, my = sum(x) / n, sum(y) / n
        vx = sum((p - mx) ** 2 for p in x) / n
        vy = sum((p - my) ** 2 for p in y) / n
        cov = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True)) / n
        total += (2 * mx * my + c) / (mx**2 + my**2 + c) + (2 * cov + c) / (vx + vy + c)
    return 1 - total / (2 * len(a))


def test_dv3cd_by_hand() -> None:
    a = [[1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 0.0, 5.0], [1.0, 1.0, 1.0, 2.0]]
    b = [[2.0, 2.0, 4.0, 0.0], [1.0, 3.0, -1.0, 1.0], [5.0, 0.0, 0.0, 0.0]]
    one, two = (torch.tensor(x).view(1, 3, 2, 2) for x in (a, b))
    # Two levels of 1 and 2 channels: channels weigh equally, levels do not.
    got = losses.dists([one[:, :1], one[:, 1:]], [two[:, :1], two[:, 1:]])
    assert got.item() == pytest.approx(dists_by_hand(a, b), rel=1e-5)
    simple = losses.dists([torch.tensor([0.0, 2.0]).view(1, 1, 1, 2)],
                          [torch.tensor([2.0, 4.0]).view(1, 1, 1, 2)])  # fmt: skip
    # mu 1 and 3: 6/10; variances 1 and 1, covariance 1: 1. So 1 - (0.6 + 1) / 2 = 0.2.
    assert simple.item() == pytest.approx(0.2, abs=1e-6)


def test_dv3cd_averages_the_images_of_a_batch() -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 2, 3, 4, 4, generator=rng)
    alone = [losses.dists([a[i : i + 1]], [b[i : i + 1]]).item() for i in range(2)]
    assert losses.dists([a], [b]).item() == pytest.approx(sum(alone) / 2, rel=1e-5)


@pytest.mark.parametrize("offset", [0.0, 1.0, 300.0])
@pytest.mark.parametrize("contrast", [0.0, 1e-3, 1.0])
def test_dv3cd_of_equal_images_is_zero(offset: float, contrast: float) -> None:
    """Also where a small variance sits on a large mean, which E[ab] - E[a]E[b] would lose."""
    a = offset + contrast * torch.randn(2, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    assert losses.dists([a], [a.clone()]).item() == pytest.approx(0, abs=1e-5)


def test_dv3cd_of_a_negative_is_almost_two() -> None:
    a = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) + 5
    assert losses.dists([a], [-a]).item() == pytest.approx(2, abs=1e-5)


@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.0, 1e-6, 1e-2, 1.0, 1e3]))
def test_dv3cd_bounds_and_symmetry(seed: int, spread: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    shift = torch.randn(2, 1, generator=rng)
    a, b = (spread * torch.randn(1, 4, 3, 3, generator=rng) + s for s in shift)
    value = losses.dists([a], [b]).item()
    assert -1e-5 <= value <= 2 + 1e-5
    assert losses.dists([b], [a]).item() == pytest.approx(value, abs=1e-5)


def test_dv3cd_of_constant_images_has_a_finite_gradient() -> None:
    a = torch.zeros(1, 2, 4, 4, requires_grad=True)
    losses.dists([a], [torch.zeros(1, 2, 4, 4)]).backward()
    assert a.grad is not None
    assert bool(torch.isfinite(a.grad).all())


def test_l1_is_the_mean_distance() -> None:
    assert losses.generator_terms(outputs(), {"l1": 1.0})["l1"].item() == pytest.approx(0.25)


def test_only_weighted_terms_are_computed() -> None:
    weights = {"lrr": 5.0, "gan": 0.0, "l1": 0.5}
    assert list(losses.generator_terms(outputs(logits=[]), weights)) == ["lrr", "l1"]


def test_weighted_sum_by_hand() -> None:
    """Eq. 13 with the paper's weights."""
    values = {"lrr": 0.3, "gan": 2.0, "dv3cd": 0.4, "l1": 0.1}
    weights = {"lrr": 5.0, "gan": 0.5, "dv3cd": 5.0, "l1": 0.5}
    terms: dict[str, Tensor] = {name: torch.tensor(value) for name, value in values.items()}
    total = losses.weighted_sum(terms, weights)
    assert total.item() == pytest.approx(1.5 + 1.0 + 2.0 + 0.05)


def test_l2_is_the_mean_square() -> None:
    assert losses.generator_terms(outputs(), {"l2": 1.0})["l2"].item() == pytest.approx(0.0625)


@pytest.mark.parametrize("name", [*losses.PERCEPTUAL, "vsd"])
def test_a_loss_without_what_it_needs_says_so(name: str) -> None:
    with pytest.raises(ValueError, match=f"the loss {name} needs"):
        losses.generator_terms(outputs(), {name: 1.0})


def test_pattern_is_what_repeats_with_the_period() -> None:
    """A residual of 0.25 everywhere repeats; one of another sign in every square does not."""
    assert losses.generator_terms(outputs(), {"pattern": 1.0})["pattern"].item() == 0.25
    x_hq = torch.zeros(1, 3, 4, 4)
    x_sr = torch.tensor([1.0, 1.0, -1.0, -1.0]).expand(1, 3, 4, 4)
    terms = losses.generator_terms(outputs(x_sr=x_sr, x_hq=x_hq), {"pattern": 1.0})
    assert terms["pattern"].item() == 0

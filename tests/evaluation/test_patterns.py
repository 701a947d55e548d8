"""The measure of a regular pattern, and the loss against it."""

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from omgsr.evaluation import contract, metrics
from omgsr.evaluation.patterns import pattern, repeated, smallest


def photograph(side: int = 256) -> Tensor:
    """(1, 3, side, side) in [-1, 1]."""
    image = data.astronaut()[:side, :side].astype(np.float32)
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 127.5 - 1


def tokens(period: int, side: int, strength: float) -> Tensor:
    """One random token, repeated."""
    rng = torch.Generator().manual_seed(0)
    one = torch.randn(1, 1, period, period, generator=rng)
    times = -(-side // period)
    return strength * one.repeat(1, 1, times, times)[..., :side, :side]


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea", "rocket"])
def test_photographs_have_none(name: str) -> None:
    image = getattr(data, name)()[:256, :256].astype(np.float32)
    x = torch.from_numpy(image).permute(2, 0, 1)[None]
    assert abs(float(pattern(x, 16))) < 1.5


def test_noise_has_none_within_its_error() -> None:
    """The logarithm of one bin spreads by 5.6 dB; 255 of them, mirrored, and eight beside each."""
    x = torch.randn(8, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    found = pattern(x, 16)
    assert abs(float(found.mean())) < 4 * 5.6 * (1 + 1 / 8) ** 0.5 / (127 * 8) ** 0.5


def test_a_pattern_too_weak_to_see_is_found_at_its_period_alone() -> None:
    """Two grey levels of 255 in a photograph."""
    x = photograph()
    plain, marked = pattern(x, 16), pattern(x + tokens(16, 256, 2 / 127.5), 16)
    assert float(marked - plain) > 6
    other = pattern(x + tokens(12, 256, 2 / 127.5), 16) - plain
    assert abs(float(other)) < float(marked - plain) / 3


def test_it_rises_with_the_pattern_and_not_with_range_or_size() -> None:
    x = photograph().double()
    levels = [float(pattern(x + tokens(16, 256, s / 127.5), 16)) for s in (0, 1, 2, 4)]
    assert levels == sorted(levels)
    torch.testing.assert_close(pattern(x * 7 + 3, 16), pattern(x, 16))
    torch.testing.assert_close(pattern(x[..., :250, :255], 16), pattern(x[..., :240, :240], 16))


def test_pictures_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match=f"seen from {smallest(16)} px a side"):
        pattern(torch.zeros(1, 3, 127, 256), 16)


def test_what_repeats_is_the_power_at_the_multiples() -> None:
    """Parseval, of a residual that is no whole number of periods wide."""
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    found = repeated(x, 16)
    wide = torch.nn.functional.pad(x, (0, 5, 0, 7))
    assert torch.equal(repeated(wide[..., :71, :101], 16), found)
    power = torch.fft.fft2(x.double()).abs().square()[..., ::4, ::6] / (64 * 96) ** 2
    expected = found.double().square().mean((2, 3))
    torch.testing.assert_close(power.sum((2, 3)), expected, rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="a period of 16 px needs as many a side"):
        repeated(x[..., :15], 16)


def test_the_loss_is_for_the_pattern_and_hardly_for_other_residuals() -> None:
    mark = tokens(16, 256, 0.02)
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    noise = noise * (mark.abs().mean() / noise.abs().mean())
    assert float(repeated(mark, 16).abs().mean()) == pytest.approx(float(mark.abs().mean()))
    assert float(repeated(noise, 16).abs().mean()) < float(mark.abs().mean()) / 12


def test_the_measure_is_a_metric_of_the_table() -> None:
    """Scored as all others are: by name, its way, its least side, in the contract."""
    metric = metrics.load("pattern-16")
    assert (metric.traits.lower_better, metric.traits.full_reference) == (True, False)
    assert metrics.MIN_SIDE["pattern-16"] == smallest(16)
    x = (photograph() + 1) / 2
    assert metric(x).tolist() == pytest.approx(pattern(x, 16).tolist())
    told = contract.contract([metric], "cpu", 0)["metrics"]["pattern-16"]
    assert (told["architecture"], told["options"]) == ("Pattern", {"period": 16})

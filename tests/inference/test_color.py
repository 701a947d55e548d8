"""Colour alignment: what is taken from the LQ image and what is kept of the restored one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from omgsr.inference import color
from omgsr.inference.color import Alignment


def image(seed: int, height: int = 40, width: int = 56, batch: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=rng) * 2 - 1


def checkerboard(height: int, width: int) -> Tensor:
    board = (torch.arange(height)[:, None] + torch.arange(width)) % 2 * 2.0 - 1
    return board.expand(1, 3, -1, -1)


def test_adain_takes_mean_and_deviation_of_every_channel() -> None:
    x_sr, x_lq = image(0), image(1) * torch.tensor([0.1, 0.5, 1.0]).view(1, 3, 1, 1) + 0.2
    aligned = color.align(x_sr, x_lq, "adain")
    torch.testing.assert_close(aligned.mean((2, 3)), x_lq.mean((2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(aligned.std((2, 3)), x_lq.std((2, 3)), rtol=1e-4, atol=1e-5)


def test_adain_by_hand() -> None:
    """0, 2 has mean 1 and deviation 1; 5, 11 has 8 and 3: so -> 5, 11; 2, 0 -> 11, 5."""
    x_sr = torch.tensor([2.0, 0.0]).expand(1, 3, 1, 2)
    x_lq = torch.tensor([5.0, 11.0]).expand(1, 3, 1, 2)
    torch.testing.assert_close(
        color.adain(x_sr, x_lq), torch.tensor([11.0, 5.0]).expand(1, 3, 1, 2)
    )


def test_adain_of_a_flat_image_is_flat() -> None:
    aligned = color.adain(torch.full((1, 3, 8, 8), 0.7), image(1, 8, 8, 1))
    torch.testing.assert_close(aligned.std((2, 3)), torch.zeros(1, 3), atol=1e-5, rtol=0)


def test_wavelet_takes_a_constant_colour_shift_away() -> None:
    x_lq = image(0)
    shift = torch.tensor([0.3, -0.2, 0.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(color.align(x_lq + shift, x_lq, "wavelet"), x_lq, atol=1e-5, rtol=0)


def test_wavelet_keeps_the_details_of_the_restored_image() -> None:
    """A one-pixel checkerboard is all detail, a constant all colour."""
    board = checkerboard(64, 64)
    aligned = color.wavelet(0.5 + 0.2 * board, torch.full_like(board, -0.3))
    inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(aligned[inside], (-0.3 + 0.2 * board)[inside], atol=1e-2, rtol=0)


def test_wavelet_takes_the_low_frequencies_of_the_lq_image() -> None:
    """A wave of 128 pixels goes over from the LQ image; one of 2 pixels does not."""
    wave = torch.sin(torch.arange(256) * 2 * torch.pi / 256).expand(1, 3, 256, 256)
    flat = torch.zeros_like(wave)
    taken = color.wavelet(flat, wave)
    assert float((taken * wave).mean() / wave.square().mean()) > 0.8
    not_taken = color.wavelet(flat, checkerboard(256, 256))
    assert float(not_taken[..., 32:-32, 32:-32].abs().max()) < 1e-3


def test_the_low_pass_is_a_binomial_filter_with_growing_dilation() -> None:
    point = torch.zeros(1, 1, 17, 17)
    point[..., 8, 8] = 16
    kernel = torch.outer(torch.tensor([1.0, 2, 1]), torch.tensor([1.0, 2, 1]))
    once = color._low(point, 1)
    torch.testing.assert_close(once[0, 0, 7:10, 7:10], kernel)
    assert float(once.sum()) == pytest.approx(16)
    twice = color._low(point, 2)[0, 0]
    spread = torch.zeros(17, 17)
    for i, row in enumerate((-2, 0, 2)):
        for j, column in enumerate((-2, 0, 2)):
            spread[7 + row : 10 + row, 7 + column : 10 + column] += kernel * kernel[i, j] / 16
    torch.testing.assert_close(twice, spread)


@pytest.mark.parametrize("how", ["adain", "wavelet", "none"])
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_equal_images_stay_as_they_are(how: Alignment, height: int, width: int) -> None:
    x = image(0, height, width)
    torch.testing.assert_close(color.align(x, x.clone(), how), x, atol=2e-5, rtol=0)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_wavelet_of_a_tiny_image_is_not_the_lq_image(side: int) -> None:
    """At least one level of filtering: with none, the restored image would be thrown away."""
    x_sr, x_lq = torch.zeros(1, 3, side, 8), image(1, side, 8, 1)
    assert not torch.allclose(color.wavelet(x_sr, x_lq), x_lq, atol=1e-3)


def test_none_is_the_restored_image() -> None:
    x_sr = image(0)
    assert color.align(x_sr, image(1), "none") is x_sr


@pytest.mark.parametrize("how", ["adain", "wavelet"])
def test_each_image_of_a_batch_has_its_own_colours(how: Alignment) -> None:
    x_sr, x_lq = image(0), image(1)
    alone = color.align(x_sr[1:], x_lq[1:], how)
    torch.testing.assert_close(color.align(x_sr, x_lq, how)[1:], alone)


def test_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sizes differ: \(2, 3, 40, 56\) and \(2, 3, 40, 40\)"):
        color.align(image(0), image(0, 40, 40), "none")


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="'lab' is unknown; use adain, wavelet or none"):
        color.align(image(0), image(1), "lab")  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["adain", "wavelet", "none"])
@given(height=st.integers(1, 150), width=st.integers(1, 40), rows=st.integers(1, 70))
def test_bands_are_the_aligned_image(how: Alignment, height: int, width: int, rows: int) -> None:
    x_sr, x_lq = image(0, height, width), image(1, height, width) * 0.5 + 0.2
    found = list(color.bands(x_sr, lambda a, b: x_lq[:, :, a:b], how, pixels=rows * width))
    assert [first for first, _ in found] == list(range(0, height, rows))
    assert all(band.shape[2] <= rows for _, band in found)
    whole = color.align(x_sr, x_lq, how)
    torch.testing.assert_close(torch.cat([b for _, b in found], 2), whole, atol=2e-5, rtol=1e-5)


def test_bands_leave_the_restored_image_alone() -> None:
    x_sr, x_lq = image(0), image(1)
    before = x_sr.clone()
    for how in ("adain", "wavelet"):
        list(color.bands(x_sr, lambda a, b: x_lq[:, :, a:b], how, pixels=200))  # type: ignore[arg-type]
    assert torch.equal(x_sr, before)


def test_bands_refuse_an_unknown_way() -> None:
    x = image(0)
    with pytest.raises(ValueError, match="'lab' is unknown"):
        list(color.bands(x, lambda a, b: x[:, :, a:b], "lab", pixels=100))  # type: ignore[arg-type]

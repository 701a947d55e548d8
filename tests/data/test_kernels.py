"""Kernels: sums, symmetry, basicsr's distribution, and filtering with them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from benchmarks.degradation import seed_everything
from omgsr import config
from omgsr.core import basicsr_shim
from omgsr.data.kernels import convolve, draw_blur, draw_side, draw_sinc
from omgsr.data.presets import Blur, Kinds, Sinc

KINDS = list(Kinds.__annotations__)
PRESETS = config.load(Path(__file__).parents[2], ready=False).degradation
BLUR = PRESETS["realesrgan"].first.blur


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def only(kind: str, blur: Blur = BLUR) -> Blur:
    """`blur` with one shape and no sinc."""
    weights = Kinds(**{name: float(name == kind) for name in KINDS})
    return replace(blur, kinds=weights, sinc=replace(blur.sinc, probability=0.0))


def only_sinc(blur: Blur = BLUR) -> Blur:
    return replace(blur, sinc=replace(blur.sinc, probability=1.0))


@pytest.mark.parametrize("blur", [*map(only, KINDS), only_sinc()], ids=[*KINDS, "sinc"])
def test_sum_and_symmetry(blur: Blur, rng: np.random.Generator) -> None:
    sides = set()
    for _ in range(100):
        kernel = draw_blur(blur, rng)
        assert kernel.dtype == np.float32
        assert kernel.shape == (len(kernel), len(kernel))
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-6)  # every shape is even
        sides.add(len(kernel))
    assert sides == set(range(7, 22, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_shape_is_isotropic_exactly_where_its_name_says(
    kind: str, rng: np.random.Generator
) -> None:
    turned = [
        np.abs(kernel - np.rot90(kernel)).max() < 1e-6
        for kernel in (draw_blur(only(kind), rng) for _ in range(30))
    ]
    assert all(turned) if kind.split("_")[-1] == "iso" else not any(turned)


@pytest.mark.parametrize("kind", KINDS)
def test_distribution_is_basicsrs(kind: str, rng: np.random.Generator) -> None:
    """Peak and widths of 600 kernels of side 15 each: Kolmogorov-Smirnov."""
    seed_everything(1)
    blur = replace(only(kind), sizes=(15, 15))
    theirs = [
        basicsr_shim.degradations.random_mixed_kernels(
            [kind], [1], 15, blur.sigma, blur.sigma, [-np.pi, np.pi],
            blur.beta_generalized, blur.beta_plateau,
        )
        for _ in range(600)
    ]  # fmt: skip
    ours = [draw_blur(blur, rng) for _ in range(600)]
    for number in (_peak, _width, _slant):
        drawn = [number(kernel) for kernel in ours]
        expected = [number(kernel) for kernel in theirs]
        if np.ptp(expected) > 1e-6:  # an isotropic kernel has no slant
            assert ks_2samp(drawn, expected).pvalue > 1e-3, number.__name__


def test_sinc_equals_basicsrs_and_takes_the_wide_range_from_its_side(
    rng: np.random.Generator,
) -> None:
    fixed = Sinc(probability=1.0, cutoff=(0.5, 0.5), wide_from=13, wide_cutoff=(0.25, 0.25))
    for side, cutoff in ((7, 0.5), (11, 0.5), (13, 0.25), (21, 0.25)):
        with np.errstate(invalid="ignore"):
            expected = basicsr_shim.degradations.circular_lowpass_kernel(cutoff * np.pi, side)
        np.testing.assert_allclose(draw_sinc(fixed, side, rng), expected, atol=1e-7)


def test_share_of_every_kind(rng: np.random.Generator) -> None:
    """Kinds are told apart by fixed parameters; 4000 draws, 5 standard deviations."""
    blur = replace(
        BLUR, sizes=(9, 9), sigma=(1.5, 1.5), beta_generalized=(0.5, 1), beta_plateau=(1, 1)
    )
    drawn = [draw_blur(blur, rng) for _ in range(4000)]
    sinc = np.mean([kernel.min() < -1e-4 for kernel in drawn])
    assert sinc == pytest.approx(0.1, abs=5 * np.sqrt(0.1 * 0.9 / 4000))
    # With equal sigmas iso is aniso: 0.9 (0.45 + 0.25) are this Gaussian, but for the half of the
    # generalized ones that have beta in [1, 1].
    gaussian = draw_blur(replace(only("iso"), sizes=(9, 9), sigma=(1.5, 1.5)), rng)
    share = np.mean([np.abs(kernel - gaussian).max() < 1e-5 for kernel in drawn])
    expected = 0.9 * (0.7 + 0.15 / 2)
    assert share == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / 4000))


def test_sides_are_equally_likely(rng: np.random.Generator) -> None:
    drawn = np.array([draw_side((7, 21), rng) for _ in range(8000)])
    counts = np.bincount(drawn, minlength=22)[7::2]
    assert counts.sum() == 8000
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(1000)


@pytest.mark.parametrize("size", [(48, 64), (200, 333), (3, 5)])
@pytest.mark.parametrize("kind", ["iso", "aniso", "sinc"])
def test_convolve_equals_basicsrs_filter2d(
    kind: str, size: tuple[int, int], rng: np.random.Generator
) -> None:
    """Separable, direct and tiled: within a hundredth of a grey level."""
    image = (rng.random((*size, 3)) * 255).astype(np.float32)
    largest = 2 * min(size) - 1  # torch mirrors at most once
    for side in {7, 13, 21}:
        if side > largest:
            continue
        blur = only_sinc() if kind == "sinc" else only(kind)
        kernel = draw_blur(replace(blur, sizes=(side, side)), rng)
        planes = torch.from_numpy(image).permute(2, 0, 1)[None]
        filter2d = basicsr_shim.module("utils.img_process_util").filter2D
        expected = filter2d(planes, torch.from_numpy(kernel)[None])[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(convolve(image, kernel), expected, atol=0.01)


def test_an_image_smaller_than_the_kernel_is_filtered(rng: np.random.Generator) -> None:
    for size in ((1, 1), (2, 3), (5, 300)):
        flat = np.full((*size, 3), 77, np.float32)
        for blur in (only("iso"), only("aniso"), only_sinc()):
            np.testing.assert_allclose(convolve(flat, draw_blur(blur, rng)), 77, atol=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probability": 1.1}, "probability: got 1.1, allowed: 0..1"),
        ({"sizes": (7, 20)}, r"sizes: got \[7, 20\], allowed: two odd numbers"),
        ({"sizes": (9, 7)}, "sizes: got"),
        ({"sigma": (3.0, 0.2)}, r"sigma: got \[3.0, 0.2\], allowed: \[low, high\]"),
        ({"sigma": (0.0, 1.0)}, "sigma: got"),
        ({"beta_generalized": (1.5, 4.0)}, "beta_generalized: got"),
        (
            {"beta_plateau": (float("nan"), 2)},
            r"beta_plateau\[0\]: got nan, allowed: a finite number",
        ),
    ],
)
def test_numbers_out_of_range_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(BLUR, **change)


def test_weights_and_cutoffs_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="allowed: not all of them 0"):
        Kinds(**dict.fromkeys(KINDS, 0.0))
    with pytest.raises(ValueError, match=r"aniso: got -0\.1, allowed: 0 or more"):
        replace(BLUR.kinds, aniso=-0.1)
    with pytest.raises(ValueError, match="cutoff: got"):
        replace(BLUR.sinc, cutoff=(0.0, 1.0))


def test_compat_leaves_the_process_as_it_was() -> None:
    """No stand-in stays behind, NumPy still warns, and neither basicsr nor torchvision loads."""
    program = """
import numpy as np, sys
before = np.geterr()
import omgsr.core.basicsr_shim
assert np.geterr() == before, np.geterr()
for name in ("torchvision.transforms.functional_tensor", "torchvision", "basicsr"):
    assert name not in sys.modules, name
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_compat_names_what_this_basicsr_lacks() -> None:
    with pytest.raises(ImportError, match=r"no_such\.py: not in this basicsr"):
        basicsr_shim.module("data.no_such")


def _peak(kernel: np.ndarray) -> float:
    return float(kernel.max())


def _moments(kernel: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: len(kernel), : len(kernel)] - len(kernel) // 2
    return np.array([(kernel * x * x).sum(), (kernel * y * y).sum(), (kernel * x * y).sum()])


def _width(kernel: np.ndarray) -> float:
    return float(_moments(kernel)[0])


def _slant(kernel: np.ndarray) -> float:
    return float(_moments(kernel)[2])

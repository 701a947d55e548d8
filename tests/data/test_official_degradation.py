"""The codec and the first resize of the official code: alone, and in basicsr's own composition."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from skimage import data

from benchmarks.degradation import diffjpeg as basicsrs
from benchmarks.degradation import reference, seed_everything
from omgsr import config
from omgsr.core import seeding
from omgsr.core.parallel import one_thread, ordered_map
from omgsr.data.degradation import degrade, diffjpeg, rescale, resize
from omgsr.data.presets import MODES, Preset

PRESETS = config.load(Path(__file__).parents[2], ready=False).degradation
LIGHT, OFFICIAL = PRESETS["light"], PRESETS["official"]
NAMES = ("chroma roughness", "PSNR", "brightness shift")
_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]).T


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    """32 crops of 128 px of three photographs."""
    rng, made = np.random.default_rng(1), []
    for index in range(32):
        photograph = (data.astronaut(), data.coffee(), data.chelsea())[index % 3]
        top, left = rng.integers(0, np.array(photograph.shape[:2]) - 127)
        made.append(np.ascontiguousarray(photograph[top : top + 128, left : left + 128]))
    return made


def planes(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) in [0, 255] => (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def interleaved(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy() * 255


def test_official_is_light_with_the_official_codec_and_resize() -> None:
    assert replace(LIGHT, jpeg="diff", resize="scale_factor") == OFFICIAL
    for name in ("light", "realesrgan"):
        assert (PRESETS[name].jpeg, PRESETS[name].resize) == ("real", "aligned")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("factor", [0.3, 0.499, 0.5773, 0.999, 1.0, 1.002, 1.2345, 1.5])
def test_rescale_equals_interpolate(mode: str, factor: float, crops: list[np.ndarray]) -> None:
    """Sides that are cut, and those that OpenCV would round up."""
    for height, width in ((128, 128), (127, 101), (64, 90), (33, 57)):
        image = np.ascontiguousarray(crops[0][:height, :width]).astype(np.float32)
        expected = torch.nn.functional.interpolate(planes(image), scale_factor=factor, mode=mode)
        np.testing.assert_allclose(
            rescale(image, factor, mode), interleaved(expected), atol=0.05, err_msg=f"{height}"
        )


def test_rescale_leaves_a_pixel_of_the_smallest_images() -> None:
    for mode in MODES:
        assert rescale(np.full((2, 9, 3), 7, np.float32), 0.3, mode).shape == (1, 2, 3)


def test_rescale_shifts_the_far_edge_where_resize_does_not() -> None:
    """A ramp of 100 px by 0.699 gives 69 px, each 1 / 0.699 wide, of which 1.29 px are cut off."""
    ramp = np.repeat(np.arange(100, dtype=np.float32)[None, :, None], 100, 0).repeat(3, 2)
    cut, whole = rescale(ramp, 0.699, "bilinear"), resize(ramp, (69, 69), "bilinear")
    np.testing.assert_allclose(cut[5, 5:-5, 0], np.arange(5.5, 64) / 0.699 - 0.5, atol=0.02)
    np.testing.assert_allclose(whole[5, 5:-5, 0], np.arange(5.5, 64) / 0.69 - 0.5, atol=0.02)


@pytest.mark.parametrize("quality", [30.0, 60.5, 95.25])
def test_the_codec_is_basicsrs_diffjpeg(quality: float, crops: list[np.ndarray]) -> None:
    """Also for sides that are no multiples of its 16, and for values that it must not see."""
    for image in (crops[0], crops[1][:37, :50]):
        wild = image.astype(np.float32) * 1.2 - 20
        with torch.no_grad():
            expected = interleaved(basicsrs(planes(wild).clamp(0, 1), quality))
        # A coefficient at a tie of its rounding may fall either way.
        assert np.mean(np.abs(diffjpeg(wild, quality) - expected) > 1e-3) < 1e-3


def test_the_threads_of_torch_do_not_change_a_byte_and_stay(crops: list[np.ndarray]) -> None:
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(degrade(crops[0], OFFICIAL, seeding.rng(0, "x")))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*found)


def test_the_processes_do_not_change_a_byte(crops: list[np.ndarray]) -> None:
    draws = range(12)
    made = [list(ordered_map(_made, crops, draws, workers=number)) for number in (1, 2)]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize(
    ("numbers", "least"), [(300, 2.5), pytest.param(3000, 6, marks=pytest.mark.slow)]
)
def test_the_distribution_is_that_of_basicsrs_composition(
    numbers: int, least: float, crops: list[np.ndarray]
) -> None:
    """Means within 4 standard errors, and whole distributions by Kolmogorov-Smirnov.

    With the real codec and the aligned resize all three means are elsewhere: draw by draw, as both
    draw the same numbers, and chroma's roughness also beside basicsr's.
    """
    seed_everything(3)
    theirs = _statistics(lambda hq, _: reference(hq, LIGHT), crops, numbers)
    ours = _statistics(partial(_drawn, OFFICIAL), crops, numbers)
    real = _statistics(partial(_drawn, LIGHT), crops, numbers)
    error = np.sqrt((ours.var(0) + theirs.var(0)) / numbers)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all(), (ours.mean(0), theirs.mean(0))
    assert min(ks_2samp(*pair).pvalue for pair in zip(ours.T, theirs.T, strict=True)) > 1e-4
    apart = (real - ours).mean(0) / (real - ours).std(0) * np.sqrt(numbers)
    assert apart[0] < -3 * least
    assert apart[1] > 3 * least
    assert apart[2] < -least
    assert real[:, 0].mean() < theirs[:, 0].mean() - least * error[0]


@pytest.mark.parametrize(
    ("setting", "value", "moved"),
    [("jpeg", "real", "chroma roughness"), ("resize", "aligned", "PSNR")],
)
def test_each_setting_moves_what_it_should(
    setting: str, value: str, moved: str, crops: list[np.ndarray]
) -> None:
    """The codec smooths chroma, and the field of view loses fidelity to the clean small image."""
    other = replace(OFFICIAL, **{setting: value})
    ours, changed = (_statistics(partial(_drawn, p), crops, 150) for p in (OFFICIAL, other))
    apart = (changed - ours)[:, NAMES.index(moved)]
    sign = -1 if setting == "jpeg" else 1
    assert sign * apart.mean() > 2.5 * apart.std() / np.sqrt(150)


def _made(hq: np.ndarray, draw: int) -> np.ndarray:
    return degrade(hq, OFFICIAL, seeding.rng(0, draw))


def _drawn(preset: Preset, hq: np.ndarray, draw: int) -> np.ndarray:
    return degrade(hq, preset, seeding.rng(5, draw))


def _statistics(
    make: Callable[[np.ndarray, int], np.ndarray], crops: list[np.ndarray], numbers: int
) -> np.ndarray:
    """NAMES of so many LQ images, in grey levels and dB: (numbers, 3)."""
    clean = [resize(hq.astype(np.float32), (32, 32), "area") for hq in crops]
    found = []
    with one_thread():  # small images wait for the others longer than they compute
        for draw in range(numbers):
            hq, x = crops[draw % len(crops)], clean[draw % len(crops)]
            lq = make(hq, draw).astype(np.float64)
            rough = np.mean([np.abs(np.diff(lq @ _CHROMA, axis=axis)).mean() for axis in (0, 1)])
            psnr = 10 * np.log10(255**2 / np.mean((lq - x) ** 2))
            found.append((rough, psnr, abs(lq.mean() - x.mean())))
    return np.array(found)

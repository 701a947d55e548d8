"""The degradation: its parts against basicsr and torch, the whole against their composition."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp, kstest, poisson
from skimage import data

from benchmarks.degradation import Codec, diffjpeg, reference, seed_everything
from omgsr import config
from omgsr.core import basicsr_shim, seeding
from omgsr.data import noise
from omgsr.data.degradation import _factor, degrade, jpeg, resize, sharpen
from omgsr.data.presets import MODES, Preset, Resize, Round

PRESETS = config.load(Path(__file__).parents[2], ready=False).degradation
STANDARD = PRESETS["realesrgan"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    """Sixteen 128 px crops of three photographs."""
    photographs = (data.astronaut(), data.coffee(), data.chelsea())
    rng = np.random.default_rng(1)
    corners = [rng.integers(0, (side[0] - 128, side[1] - 128)) for side in ((300, 451),) * 16]
    return [
        photographs[i % 3][top : top + 128, left : left + 128]
        for i, (top, left) in enumerate(corners)
    ]


def levels(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32)


def planes(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) in [0, 255] => (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 255


def interleaved(image: torch.Tensor) -> np.ndarray:
    return image[0].permute(1, 2, 0).numpy() * 255


# The whole ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_lq_is_small_uint8_and_repeats(name: str, crops: list[np.ndarray]) -> None:
    for scale, size in ((4, (128, 128)), (2, (64, 128)), (1, (32, 48)), (4, (4, 8))):
        hq = crops[0][: size[0], : size[1]]
        first = degrade(hq, PRESETS[name], seeding.rng(0, "x"), scale)
        assert first.dtype == np.uint8
        assert first.shape == (size[0] // scale, size[1] // scale, 3)
        np.testing.assert_array_equal(first, degrade(hq, PRESETS[name], seeding.rng(0, "x"), scale))
    different = degrade(crops[0], PRESETS[name], seeding.rng(0, "y"))
    assert (different != degrade(crops[0], PRESETS[name], seeding.rng(0, "x"))).any()


def test_hq_stays_as_it_was_and_global_generators_are_not_used(crops: list[np.ndarray]) -> None:
    hq = crops[0].copy()
    results = []
    for seed in (1, 2):
        seed_everything(seed)
        results.append([degrade(hq, STANDARD, seeding.rng(0, i)) for i in range(20)])
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(hq, crops[0])


@pytest.mark.parametrize("name", ["realesrgan", "light"])
@pytest.mark.parametrize("codec", ["real JPEG", "DiffJPEG"])
def test_distribution_is_that_of_basicsrs_composition(
    name: str, codec: str, crops: list[np.ndarray]
) -> None:
    """300 draws each: means, contrast, colour and radial spectra, by Kolmogorov-Smirnov.

    With the real codec in basicsr's composition nothing differs. With DiffJPEG luma's spectrum
    does not either; its colours are off by up to a grey level, and chroma has more of the high
    frequencies, because it repeats chroma pixels 2 x 2, where the codec interpolates them.
    """
    codecs = {"real JPEG": _real_jpeg, "DiffJPEG": diffjpeg}
    ours = _draws(crops, 300, PRESETS[name])
    theirs = _reference_draws(crops, 300, PRESETS[name], codecs[codec])
    compared = slice(None) if codec == "real JPEG" else slice(7, 14)
    # 56 comparisons over all cases: by chance one version in 180 would have one below 1e-4.
    assert _pvalues(ours, theirs)[compared].min() > 1e-4
    assert np.abs(ours.mean(0) - theirs.mean(0))[:6].max() < 1.5  # grey levels


@pytest.mark.parametrize("grey", [0.0, 1.0])
@pytest.mark.parametrize("gaussian", [0.0, 1.0])
def test_distribution_at_fixed_strengths(
    gaussian: float, grey: float, crops: list[np.ndarray]
) -> None:
    """The same with every strength fixed, which shows what the spread of strengths would hide."""
    preset = _fixed(STANDARD, gaussian, grey)
    ours = _draws(crops, 150, preset)
    theirs = _reference_draws(crops, 150, preset, _real_jpeg)
    assert _pvalues(ours, theirs).min() > 1e-4
    error = np.sqrt((ours.var(0) + theirs.var(0)) / 150)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()
    assert error[7:].max() < 0.25  # bits: the spectra are compared within a factor of 2


def test_the_comparisons_notice_wrong_numbers(crops: list[np.ndarray]) -> None:
    fixed = _fixed(STANDARD, 1.0, 0.0)
    noisier, softer = fixed.second.noise, fixed.first.blur
    noisier = replace(noisier, sigma=(2 * noisier.sigma[0], 2 * noisier.sigma[1]))
    softer = replace(softer, sigma=(1.3 * softer.sigma[0], 1.3 * softer.sigma[1]))
    rarer = replace(STANDARD.final, sinc=replace(STANDARD.final.sinc, probability=0.3))
    for number, right, wrong in (
        (150, fixed, replace(fixed, second=replace(fixed.second, noise=noisier))),
        (150, fixed, replace(fixed, first=replace(fixed.first, blur=softer))),
        (150, fixed, replace(fixed, second=replace(fixed.second, jpeg=(41, 41)))),
        (400, STANDARD, replace(STANDARD, usm=True)),
        (400, STANDARD, replace(STANDARD, final=rarer)),
    ):
        draws = _draws(crops, number, right), _draws(crops, number, wrong, seed=6)
        assert _pvalues(*draws).min() < 1e-4, wrong


def test_factor_has_its_shares_and_range(rng: np.random.Generator) -> None:
    drawn = np.array([_factor(STANDARD.first.resize, rng) for _ in range(10_000)])
    up, down, keep = drawn[drawn > 1], drawn[drawn < 1], drawn[drawn == 1]
    for part, share in ((up, 0.2), (down, 0.7), (keep, 0.1)):
        assert len(part) == pytest.approx(10_000 * share, abs=5 * np.sqrt(10_000 * share))
    assert kstest((up - 1) / 0.5, "uniform").pvalue > 1e-3
    assert kstest((down - 0.15) / 0.85, "uniform").pvalue > 1e-3


def test_the_light_preset_is_lighter(crops: list[np.ndarray]) -> None:
    errors = {}
    for name in ("light", "realesrgan"):
        pairs = [(hq, degrade(hq, PRESETS[name], seeding.rng(0, i))) for i, hq in enumerate(crops)]
        clean = [resize(levels(hq), (32, 32), "area") for hq, _ in pairs]
        errors[name] = np.mean(
            [(levels(lq) - c) ** 2 for (_, lq), c in zip(pairs, clean, strict=True)]
        )
    assert errors["light"] < 0.8 * errors["realesrgan"]


def test_every_branch_is_taken_and_changes_the_image(crops: list[np.ndarray]) -> None:
    """Each choice, forced one way and the other, gives another image from the same draws."""
    first, second, final = STANDARD.first, STANDARD.second, STANDARD.final
    always = replace(final.sinc, probability=1.0)
    whites = replace(first.noise, gaussian=1.0, grey=0.0)
    choices = {
        "usm": (replace(STANDARD, usm=True), replace(STANDARD, usm=False)),
        "first blur": tuple(_first(blur=replace(first.blur, probability=p)) for p in (0.0, 1.0)),
        "second blur": tuple(_second(blur=replace(second.blur, probability=p)) for p in (0.0, 1.0)),
        "kind of noise": tuple(_first(noise=replace(whites, gaussian=p)) for p in (0.0, 1.0)),
        "grey Gaussian": tuple(_first(noise=replace(whites, grey=p)) for p in (0.0, 1.0)),
        "grey Poisson": tuple(
            _first(noise=replace(whites, gaussian=0.0, grey=p)) for p in (0.0, 1.0)
        ),
        "resize": (
            _first(resize=Resize(up=1, down=0, keep=0, range=(0.5, 1.5))),
            _first(resize=Resize(up=0, down=1, keep=0, range=(0.5, 1.5))),
            _first(resize=Resize(up=0, down=0, keep=1, range=(0.5, 1.5))),
        ),
        "first JPEG": tuple(_first(jpeg=(q, q)) for q in (10, 90)),
        "second JPEG": tuple(_second(jpeg=(q, q)) for q in (10, 90)),
        "final sinc": tuple(
            replace(STANDARD, final=replace(final, sinc=replace(always, probability=p)))
            for p in (0.0, 1.0)
        ),
        "order": tuple(replace(STANDARD, final=replace(final, jpeg_last=p)) for p in (0.0, 1.0)),
    }
    for name, presets in choices.items():
        images = [degrade(crops[0], preset, seeding.rng(0, "branch")) for preset in presets]
        for i, one in enumerate(images):
            for other in images[:i]:
                assert (one != other).any(), name


def test_jpeg_last_leaves_a_decoded_jpeg(crops: list[np.ndarray]) -> None:
    """With quality 100 and no sinc the order is all that is left; at 10 blocks show."""
    coarse = replace(STANDARD.second, jpeg=(10, 10))
    steps = {}
    for order in (0.0, 1.0):
        preset = replace(STANDARD, second=coarse, final=replace(STANDARD.final, jpeg_last=order))
        made = [levels(degrade(hq, preset, seeding.rng(0, i))) for i, hq in enumerate(crops)]
        edges = np.abs(np.diff(np.stack(made), axis=2)).mean((0, 1, 3))
        steps[order] = edges[7::8].mean() / np.delete(edges, np.s_[7::8]).mean()
    assert steps[1.0] > 1.3 * steps[0.0]  # the block grid of 8 px is intact only where it is last


def test_wrong_images_are_refused(crops: list[np.ndarray], rng: np.random.Generator) -> None:
    with pytest.raises(
        ValueError,
        match=r"HQ is 127 x 128, allowed: multiples of the scale 4; "
        r"crop it to 124 x 128",
    ):
        degrade(crops[0][:127], STANDARD, rng)
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\), got float32"):
        degrade(levels(crops[0]), STANDARD, rng)
    with pytest.raises(ValueError, match=r"got uint8 \(128, 128\)"):
        degrade(crops[0][..., 0], STANDARD, rng)
    with pytest.raises(ValueError, match="HQ is 0 x 128"):
        degrade(crops[0][:0], STANDARD, rng)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        (STANDARD.first.resize, {"range": (1.2, 1.5)}, "range: got"),
        (STANDARD.first.resize, {"up": 0.0, "down": 0.0, "keep": 0.0}, "not all of them 0"),
        (STANDARD.first.noise, {"sigma": (30.0, 1.0)}, "sigma: got"),
        (STANDARD.first.noise, {"poisson": (-0.1, 1.0)}, "poisson: got"),
        (STANDARD.first.noise, {"grey": 2.0}, "grey: got 2.0, allowed: 0..1"),
        (STANDARD.first.noise, {"gaussian": -1.0}, "gaussian: got"),
        (STANDARD.first, {"jpeg": (0, 95)}, "jpeg: got"),
        (STANDARD.second, {"jpeg": (30, 101)}, "jpeg: got"),
        (STANDARD.final, {"sizes": (0, 21)}, "sizes: got"),
        (STANDARD.final, {"jpeg_last": 1.5}, "jpeg_last: got"),
    ],
)
def test_numbers_out_of_range_are_refused(part: object, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(part, **change)  # type: ignore[type-var]


def test_presets_hold_the_published_numbers() -> None:
    """Real-ESRGAN's and StableSR's option files (field.md, section 1.4)."""
    for name, first, second in (
        (
            "realesrgan",
            (1.0, (0.15, 1.5), (1, 30), (0.05, 3), (30, 95)),
            (0.8, (0.3, 1.2), (1, 25), (0.05, 2.5), (30, 95)),
        ),
        (
            "light",
            (1.0, (0.3, 1.5), (1, 15), (0.05, 2), (60, 95)),
            (0.5, (0.6, 1.2), (1, 12), (0.05, 1), (60, 100)),
        ),
    ):
        preset = PRESETS[name]
        for one, numbers in ((preset.first, first), (preset.second, second)):
            assert numbers == (
                one.blur.probability, one.resize.range, one.noise.sigma, one.noise.poisson, one.jpeg
            )  # fmt: skip
            assert (one.noise.gaussian, one.noise.grey) == (0.5, 0.4)
            assert tuple(vars(one.blur.kinds).values()) == (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
            assert (one.blur.sizes, one.blur.sinc.probability) == ((7, 21), 0.1)
            assert (one.blur.beta_generalized, one.blur.beta_plateau) == ((0.5, 4), (1, 2))
        assert (preset.first.blur.sigma, preset.second.blur.sigma) == ((0.2, 3), (0.2, 1.5))
        assert (preset.final.sinc.probability, preset.final.jpeg_last) == (0.8, 0.5)


# The parts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(40, 75), (128, 128), (150, 131), (20, 140), (1, 1)])
def test_resize_equals_interpolate(
    mode: str, size: tuple[int, int], crops: list[np.ndarray]
) -> None:
    expected = torch.nn.functional.interpolate(planes(crops[0]), size=size, mode=mode)
    np.testing.assert_allclose(
        resize(levels(crops[0]), size, mode), interleaved(expected), atol=0.05
    )


def test_sharpening_equals_basicsrs(crops: list[np.ndarray]) -> None:
    usm = basicsr_shim.module("utils.img_process_util").USMSharp()
    for crop in crops:
        ours = sharpen(levels(crop))
        np.testing.assert_allclose(ours, interleaved(usm(planes(crop))), atol=0.2)


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise(grey: bool, rng: np.random.Generator) -> None:
    flat = np.full((200, 200, 3), 128, np.float32)
    added = noise.add_gaussian(flat, 12.0, grey, rng) - flat
    assert added.std() == pytest.approx(12, rel=0.02)
    assert added.mean() == pytest.approx(0, abs=0.3)
    correlation = np.corrcoef(added.reshape(-1, 3).T)[0, 1]
    assert correlation == pytest.approx(1.0 if grey else 0.0, abs=0.03)


@pytest.mark.parametrize("grey", [False, True])
def test_poisson_noise_is_basicsrs(grey: bool, crops: list[np.ndarray]) -> None:
    """Mean, variance and extremes of the noise at every brightness, over 20 draws of an image."""
    torch.manual_seed(0)
    image = levels(crops[0]) * 0.5 + 50  # away from the limits, where clipping sets in
    draws = range(20)
    ours = np.stack([noise.add_poisson(image, 1.0, grey, seeding.rng(0, i)) for i in draws]) - image
    add = basicsr_shim.degradations.add_poisson_noise_pt
    theirs = np.stack([interleaved(add(planes(image), 1.0, gray_noise=float(grey))) for _ in draws])
    theirs -= image
    for low, high in ((50, 80), (80, 120), (120, 180)):
        inside = np.broadcast_to((low <= image) & (image < high), ours.shape)
        if inside.sum() < 2000:
            continue
        assert ours[inside].std() == pytest.approx(theirs[inside].std(), rel=0.03)
        error = theirs[inside].std() / np.sqrt(inside.sum() / (3 if grey else 1))
        assert ours[inside].mean() == pytest.approx(theirs[inside].mean(), abs=6 * error)
    assert np.quantile(ours, 0.999) == pytest.approx(np.quantile(theirs, 0.999), rel=0.05)
    assert np.corrcoef(ours.reshape(-1, 3).T)[0, 1] == pytest.approx(float(grey), abs=0.05)


@pytest.mark.parametrize("v", [1, 16, 256])
def test_poisson_table_holds_the_probabilities(v: int) -> None:
    """Every probability within 2^-14, and mean and variance of every level."""
    table = noise._shot_noise(v).reshape(256, -1)
    assert table.shape == (256, 1 << 14)
    for level in (0, 1, 7, 100, 255):
        mean = v * level / 255
        counts = np.rint(v * (table[level] / 255 + level / 255)).astype(int)
        drawn = np.bincount(counts, minlength=400)[:400] / (1 << 14)
        np.testing.assert_allclose(drawn, poisson.pmf(np.arange(400), mean), atol=2**-14)
        assert counts.mean() == pytest.approx(mean, abs=0.005 * max(1, mean) ** 0.5)
        assert counts.var() == pytest.approx(mean, rel=0.01, abs=1e-9)


def test_poisson_counts_the_levels_as_basicsr_does(rng: np.random.Generator) -> None:
    """v = 1, 2 and 4 for 1, 2 and 3 different levels: the noise is a multiple of 255 / v."""
    for values, v in (((255,), 1), ((0, 255), 2), ((0, 51, 255), 4)):
        image = np.resize(np.array(values, np.float32), (30, 30, 3))
        table = noise._shot_noise(v).reshape(256, -1)
        added = noise.add_poisson(image, 0.01, False, rng) - image
        possible = 0.01 * table[list(values)].ravel()
        inside = (image + added > 0) & (image + added < 255)
        distance = np.abs(added[inside][:, None] - np.unique(possible)).min(1)
        assert distance.max(initial=0) < 1e-3


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_jpeg_is_close_to_diffjpeg(quality: int, crops: list[np.ndarray]) -> None:
    """The real codec loses as much luma as the imitation (0.75 dB), and never more colour."""
    for crop in crops:
        real = jpeg(levels(crop), quality)
        with torch.no_grad():
            imitated = interleaved(diffjpeg(planes(crop), float(quality)))
        assert _psnr(_luma(real), _luma(crop)) == pytest.approx(
            _psnr(_luma(imitated), _luma(crop)), abs=0.75
        )
        assert -0.1 < _psnr(real, crop) - _psnr(imitated, crop) < 2
        assert _psnr(_luma(real), _luma(imitated)) > _psnr(_luma(real), _luma(crop)) - 0.5


def test_jpeg_keeps_the_colours_in_place() -> None:
    red = np.zeros((16, 16, 3), np.float32)
    red[..., 0] = 250
    assert np.abs(jpeg(red, 95) - red).max() < 6


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((levels(one) - levels(other)) ** 2)))


def _luma(image: np.ndarray) -> np.ndarray:
    return levels(image) @ np.array([0.299, 0.587, 0.114], np.float32)


def _real_jpeg(image: torch.Tensor, quality: float) -> torch.Tensor:
    return planes(jpeg(np.ascontiguousarray(interleaved(image)), round(quality)))


def _draws(crops: list[np.ndarray], number: int, preset: Preset, seed: int = 5) -> np.ndarray:
    """Statistics of LQ images less those of the clean small image: (number, 21)."""
    clean = [_statistics(resize(levels(hq), (32, 32), "area")) for hq in crops]
    return np.stack(
        [
            _statistics(degrade(crops[i % len(crops)], preset, seeding.rng(seed, i)))
            - clean[i % len(crops)]
            for i in range(number)
        ]
    )


def _reference_draws(
    crops: list[np.ndarray], number: int, preset: Preset, codec: Codec
) -> np.ndarray:
    seed_everything(3)
    clean = [_statistics(resize(levels(hq), (32, 32), "area")) for hq in crops]
    return np.stack(
        [
            _statistics(reference(crops[i % len(crops)], preset, codec=codec))
            - clean[i % len(crops)]
            for i in range(number)
        ]
    )


def _pvalues(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Kolmogorov-Smirnov of every column."""
    return np.array([ks_2samp(*pair).pvalue for pair in zip(one.T, other.T, strict=True)])


def _fixed(preset: Preset, gaussian: float, grey: float) -> Preset:
    """`preset` with every strength at the middle of its range, and one kind of noise."""

    def middle(pair: tuple[float, float]) -> tuple[float, float]:
        return (sum(pair) / 2, sum(pair) / 2 + 1e-4)  # basicsr wants low < high

    def fix(one: Round) -> Round:
        blur = replace(one.blur, probability=1.0, sizes=(13, 13), sigma=middle(one.blur.sigma))
        strengths = {"sigma": middle(one.noise.sigma), "poisson": middle(one.noise.poisson)}
        return replace(
            one,
            blur=replace(blur, sinc=replace(blur.sinc, probability=0.0)),
            resize=replace(one.resize, range=(0.7, 1.0), up=0.0, down=0.0, keep=1.0),
            noise=replace(one.noise, gaussian=gaussian, grey=grey, **strengths),
            jpeg=(sum(one.jpeg) // 2, sum(one.jpeg) // 2),
        )

    sinc = replace(preset.final.sinc, probability=1.0, cutoff=(0.5, 0.5))
    final = replace(preset.final, sinc=sinc, sizes=(11, 11), jpeg_last=1.0)
    return replace(preset, first=fix(preset.first), second=fix(preset.second), final=final)


def _statistics(image: np.ndarray) -> np.ndarray:
    """Mean and deviation of each channel, chroma, and log2 power in bands of luma and chroma."""
    pixels = levels(image)
    luma = _luma(image)
    chroma = pixels[..., 0] - pixels[..., 2]
    bands = [_spectrum(luma), _spectrum(chroma)]
    return np.concatenate([pixels.mean((0, 1)), pixels.std((0, 1)), [chroma.std()], *bands])


def _spectrum(plane: np.ndarray) -> np.ndarray:
    """log2 of the mean power in 7 rings of frequency: (H, W) => (7,)."""
    window = np.hanning(len(plane))
    power = np.abs(np.fft.fft2((plane - plane.mean()) * np.outer(window, window))) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(len(plane)),) * 2))
    ring = np.clip((frequency * 14).astype(int), 0, 6)
    return np.log2(np.bincount(ring.ravel(), power.ravel()) / np.bincount(ring.ravel()) + 1)


def _first(**changes: object) -> Preset:
    return replace(STANDARD, first=replace(STANDARD.first, **changes))


def _second(**changes: object) -> Preset:
    return replace(STANDARD, second=replace(STANDARD.second, **changes))

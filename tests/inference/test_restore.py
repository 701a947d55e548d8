"""OneStep: the asked size out of any; tiles, memory that runs out, precision that overflows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from omgsr import config
from omgsr.core import images
from omgsr.data import photographs
from omgsr.inference import benchmarks, memory_budget
from omgsr.inference.precision import NonFiniteImage
from omgsr.inference.restore import OneStep
from omgsr.inference.tiling import starts
from omgsr.method.generator import Generator
from omgsr.models import foundation
from omgsr.models.backbones import from_folder
from tests.helpers import models


def picture(height: int, width: int, seed: int = 0, dtype: type = np.uint8) -> np.ndarray:
    """Smooth, as photographs are: enlarged noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (-(-height // 4), -(-width // 4), 3), dtype=np.uint8)
    image = images.upscale(coarse, 4)[:height, :width]
    return image.astype(np.uint16) * 257 if dtype == np.uint16 else image


def psnr(image: np.ndarray, other: np.ndarray) -> float:
    error = np.square(image.astype(np.float64) - other).mean()
    return float(-10 * np.log10(max(error, 1e-12)))


@pytest.fixture(scope="module")
def generator(tiny: Path) -> Generator:
    return benchmarks.merge(models.generator(tiny, trained=0.1).requires_grad_(False))


@pytest.fixture(scope="module")
def mini(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator:
    """The shipped foundation at about its t*."""
    folder = tmp_path_factory.mktemp("mini")
    foundation.ship(folder, config.load(checkout, "mini").foundation)
    return Generator(from_folder.load(folder), 162).requires_grad_(False)


# Sizes


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), tall=st.integers(1, 90),
    wide=st.integers(1, 90), tile=st.sampled_from([None, 4, 8, 17]),
    least=st.sampled_from([None, 24]), view=st.sampled_from(["image", "tile"]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)  # fmt: skip
def test_every_size_is_exactly_what_was_asked(
    generator: Generator, height: int, width: int, tall: int, wide: int, tile: int | None,
    least: int | None, view: Any, dtype: type,
) -> None:  # fmt: skip
    method = OneStep(generator, tile=tile, process_size=least, view=view)
    out = method([picture(height, width, dtype=dtype)], (tall, wide))[0]
    assert (out.shape, out.dtype) == ((tall, wide, 3), np.float32)
    assert 0 <= out.min() <= out.max() <= 1


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (1, 1), (16, 16), (3, 257), (700, 2)])
@pytest.mark.parametrize("tile", [None, 16])
def test_lines_and_points(generator: Generator, size: tuple[int, int], tile: int | None) -> None:
    asked = (size[0] * 4, size[1] * 4)
    for least in (None, 64):
        out = OneStep(generator, tile=tile, process_size=least)([picture(*size)], asked)[0]
        assert out.shape == (*asked, 3)
        assert np.isfinite(out).all()


def test_sixteen_bits_are_more_than_eight(generator: Generator) -> None:
    method = OneStep(generator, color="none")
    fine = picture(12, 20, dtype=np.uint16)
    eight, sixteen = (method([i], (48, 80))[0] for i in (picture(12, 20), fine))
    assert psnr(eight, sixteen) > 35, "the same picture"
    nearly = method([np.where(fine < 60000, fine + 60, fine)], (48, 80))[0]
    assert 0 < np.abs(nearly - sixteen).mean() < 2 / 255, "a difference that eight bits drop"


def test_small_results_are_restored_at_the_models_size(generator: Generator) -> None:
    seen: list[tuple[int, ...]] = []
    generator.backbone.vae.encoder.register_forward_hook(
        lambda _m, args, _o: seen.append(tuple(args[0].shape))
    )
    image = picture(10, 15)
    small = OneStep(generator, color="none", process_size=64)([image], (20, 30))[0]
    assert seen == [(1, 3, 64, 96)]
    large = OneStep(generator, color="none")([image], (64, 96))[0]
    levels = Fraction(1, 255)
    reduced = images.upscale(np.rint(large * 255).astype(np.uint8), 1)
    assert reduced.shape == (64, 96, 3)
    assert psnr(small.mean((0, 1)), large.mean((0, 1))) > 40
    assert np.abs(small - OneStep(generator, color="none")([image], (20, 30))[0]).max() > levels


# Tiles


def test_tiles_are_nearly_the_whole_and_have_no_seams(mini: Generator) -> None:
    """The bar of 45 dB at an overlap of a quarter tile, on a photograph."""
    photograph = images.read_rgb(photographs.locate("coffee"))[136:264, 236:364]
    whole = OneStep(mini, tile=512)([photograph], (512, 512))[0]
    method = OneStep(mini, tile=128)
    by_tiles = method([photograph], (512, 512))[0]
    assert method.tile_used == 128
    assert psnr(by_tiles, whole) > 45
    assert seam(by_tiles, whole, overlap=32) < 1.02
    alone = OneStep(mini, tile=128, overlap=0, view="tile")([photograph], (512, 512))[0]
    assert psnr(alone, whole) < 40, "tiles on their own are another picture"
    assert seam(alone, whole, overlap=0) > 2, "a seam would be found"


def seam(image: np.ndarray, whole: np.ndarray, overlap: int, tile: int = 128) -> float:
    """Gradients across the borders of tiles over those elsewhere, beside the same of the whole."""
    begins = starts(image.shape[1], tile, overlap, 8)
    borders = {b for begin in begins for b in (begin, begin + tile)} - {0, image.shape[1]}
    at = np.array(sorted(borders)) - 1

    def ratio(one: np.ndarray) -> float:
        steps = np.abs(np.diff(one, axis=1)).mean((0, 2))
        return float(steps[at].mean() / np.delete(steps, at).mean())

    return ratio(image) / ratio(whole)


def test_images_that_fit_are_not_tiled(generator: Generator) -> None:
    calls: list[int] = []
    handle = generator.backbone.vae.decoder.register_forward_hook(lambda *_: calls.append(1))
    method = OneStep(generator, tile=32)
    method([picture(16, 16)], (64, 64))  # the area of four tiles
    assert (len(calls), method.tile_used) == (1, None)
    method([picture(16, 17)], (64, 68))
    assert len(calls) > 2
    assert method.tile_used == 32
    handle.remove()


@pytest.mark.parametrize("view", ["image", "tile"])
def test_tiling_does_not_depend_on_the_batch_or_on_what_was_before(
    generator: Generator, view: Any
) -> None:
    method = OneStep(generator, tile=16, view=view)
    batch = [picture(12, 20, seed) for seed in range(3)]
    together = method(batch, (48, 80))
    method([picture(25, 13, 9)], (100, 52))
    for image, out in zip(batch[::-1], together[::-1], strict=True):
        np.testing.assert_allclose(method([image], (48, 80))[0], out, atol=1e-5)


def test_noise_is_drawn_once_for_the_whole_latent(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not in every tile, where overlapping tiles would have different noise."""
    generator = models.generator(tiny, latent="sample")
    draw, drawn = generator.backbone.draw, list[Tensor]()

    def spy(*given: Any) -> Tensor:
        drawn.append(draw(*given))
        return drawn[-1]

    monkeypatch.setattr(generator.backbone, "draw", spy)
    image = np.full((16, 16, 3), 90, np.uint8)
    for tile in (64, 24):
        OneStep(generator, tile=tile)([image], (64, 64))
    assert [z.shape for z in drawn] == [(1, 4, 32, 32)] * 2
    noise = [(z - z.mean((2, 3), keepdim=True)).flatten() for z in drawn]
    assert float(torch.corrcoef(torch.stack(noise))[0, 1]) > 0.99


def test_adapters_need_not_be_merged(tiny: Path) -> None:
    given = models.generator(tiny, trained=0.1)
    apart = OneStep(given, tile=16)([picture(16, 16)], (64, 64))[0]
    merged = OneStep(benchmarks.merge(given), tile=16)([picture(16, 16)], (64, 64))[0]
    np.testing.assert_allclose(apart, merged, atol=1e-3)


def test_a_tile_that_the_model_cannot_take_is_made_smaller(generator: Generator) -> None:
    for asked, used in ((19, 16), (16, 16), (3, 4)):
        method = OneStep(generator, tile=asked)
        method([picture(20, 20)], (80, 80))
        assert method.tile_used == used


def test_an_overlap_that_is_no_less_than_the_tile_is_refused(generator: Generator) -> None:
    with pytest.raises(ValueError, match=r"overlap: got 16, allowed: 0..15"):
        OneStep(generator, tile=16, overlap=16)


# Memory


def limited(
    method: OneStep, monkeypatch: pytest.MonkeyPatch, pixels: int, error: Exception
) -> list[int]:
    """A decoder that runs out of memory above so many latent pixels; what it was asked for."""
    decode, asked = method._chain.decoder.function, list[int]()

    def guarded(z: Tensor) -> Tensor:
        asked.append(len(z) * z.shape[2] * z.shape[3])
        if asked[-1] > pixels:
            raise error
        return decode(z)

    monkeypatch.setattr(method._chain.decoder, "function", guarded)
    return asked


FULL = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FULL, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(("tile", "used"), [(None, 68), (128, 64)])
def test_out_of_memory_halves_the_tile_and_goes_on(
    generator: Generator,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    tile: int | None,
    used: int,
) -> None:
    method = OneStep(generator, tile=tile)
    asked = limited(method, monkeypatch, 70 * 70, error)
    out = method([picture(64, 75)], (256, 300))[0]  # 128 x 150 latent pixels
    assert out.shape == (256, 300, 3)
    assert method.tile_used == used
    assert method.notes == [f"out of memory: went on with tiles of {used} pixels"]
    assert asked[0] > 70 * 70 >= asked[-1]
    same = OneStep(generator, tile=used)([picture(64, 75)], (256, 300))[0]
    np.testing.assert_array_equal(out, same)
    method([picture(8, 8)], (32, 32))
    assert method.tile_used is None, "the next image starts anew"


def test_a_batch_is_first_taken_apart(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = OneStep(generator)
    batch = [picture(16, 16, seed) for seed in range(3)]
    expected = method(batch, (64, 64))
    limited(method, monkeypatch, 32 * 32, FULL[0])
    for one, other in zip(method(batch, (64, 64)), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
    assert method.notes == ["out of memory: 3 images restored one by one"]
    assert method.tile_used is None


def test_where_no_tile_is_small_enough_the_error_says_so(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = OneStep(generator)
    limited(method, monkeypatch, 0, FULL[0])
    with pytest.raises(MemoryError, match="300 x 256 pixels take more memory than cpu has free"):
        method([picture(64, 75)], (256, 300))


def test_other_errors_are_not_taken_for_it(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = OneStep(generator)
    limited(method, monkeypatch, 0, RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError, match="shapes differ"):
        method([picture(8, 8)], (32, 32))


@pytest.mark.parametrize(("memory", "tile"), [(0.0001, 64), (0.01, 108), (10, None)])
def test_less_memory_gives_smaller_tiles(
    generator: Generator, memory: float, tile: int | None
) -> None:
    method = OneStep(generator)
    method._tiles.free = memory * 2**30
    out = method([picture(70, 70)], (280, 280))[0]
    assert out.shape == (280, 280, 3)
    assert method.tile_used == tile
    assert not method.notes


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_side_by_side_nothing_depends_on_the_batch_to_the_last_bit(
    mini: Generator, dtype: Any
) -> None:
    batch = [picture(32, 40, seed) for seed in range(5)]
    threads = torch.get_num_threads()
    method = OneStep(copy.deepcopy(mini), workers=2, dtype=dtype)
    together = method(batch, (128, 160))
    alone = [method([image], (128, 160))[0] for image in batch]
    one = OneStep(copy.deepcopy(mini), workers=1, dtype=dtype)(batch[:3], (128, 160))
    assert all(np.array_equal(*pair) for pair in zip(together, alone, strict=True))
    assert all(np.array_equal(*pair) for pair in zip(together[:3], one, strict=True))
    assert torch.get_num_threads() == threads


def test_side_by_side_only_the_image_that_overflows_is_computed_in_fp32(tiny: Path) -> None:
    generator = benchmarks.merge(models.generator(tiny, trained=0.1).requires_grad_(False))
    batch = [picture(8, 8, seed) for seed in range(3)]
    method = OneStep(generator, workers=2, dtype="bf16")
    fine = method(batch, (32, 32))
    decode = method._chain.decoder.function
    seen: list[Tensor] = []

    def overflows(z: Tensor) -> Tensor:
        if not seen:
            seen.append(z)
        image = decode(z)
        return image * torch.inf if z.dtype == torch.bfloat16 and z.equal(seen[0]) else image

    method._chain.decoder.function = overflows
    mended = method(batch, (32, 32))
    equal = [np.array_equal(a, b) for a, b in zip(fine, mended, strict=True)]
    assert sorted(equal) == [False, True, True]
    assert method.notes == ["decoder: overflow in bf16, computed in fp32"]
    assert all(psnr(a, b) > 30 for a, b in zip(fine, mended, strict=True))


def test_a_batch_is_no_larger_than_memory_takes(generator: Generator) -> None:
    sizes: list[int] = []
    handle = generator.backbone.vae.decoder.register_forward_hook(
        lambda _m, args, _o: sizes.append(len(args[0]))
    )
    batch = [picture(16, 16, seed) for seed in range(5)]
    memory = (
        64
        * 64
        * (2 * memory_budget.bytes_per_pixel(generator.backbone.decoder_width, torch.float32) + 40)
    )
    method = OneStep(generator)
    method._tiles.free = memory
    method(batch, (64, 64))
    handle.remove()
    assert sizes == [2, 2, 1]


# Precision


@pytest.mark.parametrize(("dtype", "least"), [("bf16", 30), ("fp16", 45)])
@pytest.mark.parametrize("tile", [None, 16])
def test_half_precision_is_nearly_the_same(
    tiny: Path, dtype: Any, least: float, tile: int | None
) -> None:
    def fresh() -> Generator:
        return benchmarks.merge(models.generator(tiny, trained=0.05))

    full = OneStep(fresh(), tile=tile)([picture(16, 16)], (64, 64))[0]
    given = fresh()
    method = OneStep(given, tile=tile, dtype=dtype)
    half = method([picture(16, 16)], (64, 64))[0]
    assert half.dtype == np.float32
    assert psnr(half, full) > least
    assert not method.notes
    kinds = {
        p.dtype for p in (*given.backbone.vae.parameters(), *given.backbone.denoiser.parameters())
    }
    assert kinds == {torch.bfloat16 if dtype == "bf16" else torch.float16}


def test_a_generator_may_be_cast_again(tiny: Path) -> None:
    given = benchmarks.merge(models.generator(tiny, trained=0.05))
    first = OneStep(given, dtype="bf16")([picture(8, 8)], (32, 32))[0]
    again = OneStep(given)([picture(8, 8)], (32, 32))[0]
    assert psnr(first, again) > 30
    assert {p.dtype for p in given.parameters()} == {torch.float32}


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("part", ["encoder", "denoiser", "decoder"])
def test_an_overflow_is_computed_in_fp32(tiny: Path, part: str, tile: int | None) -> None:
    """Weights that fp16 holds, and products that it does not; never a black image."""

    def loud() -> Generator:
        made = benchmarks.merge(models.generator(tiny, trained=0.05).requires_grad_(False))
        b: Any = made.backbone
        network = {"encoder": b.vae.encoder, "denoiser": b.denoiser, "decoder": b.vae.decoder}[part]
        network.conv_in.weight.data *= 30000 / network.conv_in.weight.abs().max()
        network.conv_in.bias.data += 60000
        return made

    expected = OneStep(loud(), tile=tile)([picture(16, 16)], (64, 64))[0]
    method = OneStep(loud(), tile=tile, dtype="fp16")
    out = method([picture(16, 16)], (64, 64))[0]
    assert out.std() > 0.05
    assert psnr(out, expected) > 40
    assert method.notes == [f"{part}: overflow in fp16, computed in fp32"]
    again = method([picture(16, 16)], (64, 64))[0]
    np.testing.assert_array_equal(again, out)
    assert len(method.notes) == 2, "each image begins in fp16"


def test_weights_that_fp16_does_not_hold_stay_in_fp32(tiny: Path) -> None:
    given = benchmarks.merge(models.generator(tiny).requires_grad_(False))
    given.backbone.vae.decoder.conv_in.weight.data[0, 0, 0, 0] = 1e6
    method = OneStep(given, dtype="fp16")
    assert np.isfinite(method([picture(8, 8)], (32, 32))[0]).all()
    assert method.notes == ["decoder: weights too large for fp16, kept in fp32"]
    assert given.backbone.vae.decoder.conv_in.weight.dtype == torch.float32
    assert given.backbone.vae.encoder.conv_in.weight.dtype == torch.float16


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_a_model_that_gives_no_picture_is_named(tiny: Path, dtype: Any) -> None:
    given = benchmarks.merge(models.generator(tiny).requires_grad_(False))
    given.backbone.denoiser.conv_out.bias.data[:] = torch.nan
    with pytest.raises(NonFiniteImage, match="the denoiser gives infinities or NaN in fp32"):
        OneStep(given, dtype=dtype)([picture(8, 8)], (32, 32))


# Input


@pytest.mark.parametrize(
    ("batch", "size", "said"),
    [
        ([], (8, 8), "nothing to restore: 0 images"),
        ([picture(8, 8)], (0, 8), r"to a size of \(0, 8\)"),
        (
            [picture(8, 8)[..., 0]],
            (8, 8),
            r"expected uint8 or uint16 \(h, w, 3\), got uint8 \(8, 8\)",
        ),
        ([picture(8, 8) / 255], (8, 8), "got float64"),
        ([picture(8, 8), picture(8, 9)], (8, 8), r"one shape, got \(8, 8, 3\) and \(8, 9, 3\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(
    generator: Generator, batch: list[np.ndarray], size: tuple[int, int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        OneStep(generator)(batch, size)


def test_an_unknown_precision_is_refused(generator: Generator) -> None:
    with pytest.raises(ValueError, match="dtype: got 'int8', allowed: fp32, bf16, fp16"):
        OneStep(generator, dtype="int8")  # type: ignore[arg-type]


def test_read_only_images_are_taken_as_they_are(generator: Generator) -> None:
    image = picture(16, 16)
    image.setflags(write=False)
    before = image.copy()
    make: Callable[[], OneStep] = lambda: OneStep(generator, tile=8)  # noqa: E731
    make()([image], (16, 16))
    np.testing.assert_array_equal(image, before)

"""Restoration: the exact output size, independence of the batch, padding, colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from omgsr.core import images
from omgsr.data.manifest import Row
from omgsr.inference import benchmarks, color
from omgsr.inference.color import Alignment
from omgsr.inference.restore import OneStep
from omgsr.method.generator import Generator
from tests.helpers import models
from tests.helpers.restoring import restore, restore_batch


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def generator(tiny: Path) -> Generator:
    return models.generator(tiny, trained=0.1).requires_grad_(False)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (13, 29), (16, 16)])
def test_the_output_is_exactly_scale_times_the_input(
    generator: Generator, size: tuple[int, int], scale: int
) -> None:
    """The model takes multiples of 2 alone: 13 x 29 at scale 3 is padded to 40 x 88 and cut."""
    out = restore(generator, picture(*size), scale)
    assert out.shape == (size[0] * scale, size[1] * scale, 3)
    assert out.dtype == np.uint8


@pytest.mark.parametrize("how", ["adain", "wavelet", "none"])
def test_restoring_is_generator_crop_and_alignment(generator: Generator, how: Alignment) -> None:
    lq = picture(9, 11)
    x = images.to_tensor(images.upscale(lq, 3))[None]  # 27 x 33 => 28 x 34
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 1), (0, 1)), mode="reflect")
    with torch.no_grad():
        x_sr = generator(torch.from_numpy(padded))[0][..., :27, :33].clamp(-1, 1)
    expected = images.to_array(color.align(x_sr, x, how)[0])
    np.testing.assert_array_equal(restore(generator, lq, 3, how), expected)


@pytest.mark.parametrize("latent", ["mode", "sample"])
def test_a_batch_gives_the_same_as_one_by_one(tiny: Path, latent: str) -> None:
    generator = models.generator(tiny, latent=latent, trained=0.1)
    batch = [picture(6, 10, seed) for seed in range(4)]
    together = restore_batch(generator, batch, 3)
    for image, out in zip(batch, together, strict=True):
        alone = restore(generator, image, 3).astype(int)
        assert np.abs(alone - out).max() <= 1  # float32 sums in another order, then rounding
        assert (alone != out).mean() < 0.01


def test_samples_depend_on_the_seed_alone(tiny: Path) -> None:
    generator = models.generator(tiny, latent="sample")
    first, again, other = (restore(generator, picture(8, 8), 4, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("how", ["adain", "none"])
def test_merged_adapters_give_the_same_picture(tiny: Path, how: Alignment) -> None:
    generator = models.generator(tiny, trained=0.1)
    expected = restore(generator, picture(9, 11), 4, how).astype(int)
    merged = benchmarks.merge(generator)
    assert merged is generator
    assert not [name for name, _ in merged.named_parameters() if "lora" in name]
    assert benchmarks.merge(merged) is merged, "what is merged stays"
    out = restore(merged, picture(9, 11), 4, how)
    assert np.abs(out - expected).max() <= 1  # sums in another order, then rounding
    assert (out != expected).mean() < 0.01


def test_adain_gives_the_colours_of_the_upscaled_image(generator: Generator) -> None:
    lq = picture(16, 16) // 4 + 90  # mid grey, so that nothing is clipped
    wanted = images.upscale(lq, 4).astype(float)
    plain, aligned = (restore(generator, lq, 4, how) for how in ("none", "adain"))
    for statistic in (np.mean, np.std):
        got = statistic(aligned, axis=(0, 1))
        np.testing.assert_allclose(got, statistic(wanted, axis=(0, 1)), atol=0.5)
    assert np.abs(plain.mean((0, 1)) - wanted.mean((0, 1))).max() > 5


@pytest.mark.parametrize("how", ["adain", "wavelet", "none"])
def test_a_grey_file_is_restored(generator: Generator, tmp_path: Path, how: Alignment) -> None:
    Image.fromarray(picture(8, 12)[..., 0] // 4 + 90).save(tmp_path / "grey.png")
    out = restore(generator, images.read_rgb(tmp_path / "grey.png"), 4, how)
    assert out.shape == (32, 48, 3)
    if how == "adain":  # equal means of the three channels: grey on average
        assert np.ptp(out.astype(float).mean((0, 1))) < 2


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_stays_flat_in_colour(generator: Generator, level: int) -> None:
    out = restore(generator, np.full((8, 8, 3), level, np.uint8), 4)
    assert np.abs(out.astype(int) - level).max() <= 1


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Two sizes in turn, LQ alone, names that are not in the order of the files."""
    made = []
    for i in range(7):
        path = tmp_path / f"{9 - i}.png"
        images.write_png(path, picture(6, 8 if i % 2 else 10, seed=i))
        made.append(Row(name=f"n{i}.x", lq=str(path)))
    return made


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_rows_of_several_sizes_are_all_restored_once(
    generator: Generator, rows: list[Row], batch: int
) -> None:
    restored = benchmarks.restore_rows(OneStep(generator), rows, batch, 4)
    found = {row.name: image for row, image in restored}
    assert sorted(found) == [row.name for row in rows]
    for row in rows:
        alone = restore(generator, images.read_rgb(row.lq), 4).astype(int)
        assert np.abs(found[row.name] - alone).max() <= 1


def test_rows_are_saved_under_their_names(
    generator: Generator, rows: list[Row], tmp_path: Path
) -> None:
    folder = tmp_path / "sr"
    restored = list(benchmarks.restore_rows(OneStep(generator, color="none"), rows, 4, 4))
    names = list(benchmarks.save_rows(restored, folder))
    assert sorted(names) == [row.name for row in rows]
    assert sorted(p.name for p in folder.iterdir()) == [f"{row.name}.png" for row in rows]
    for row, image in restored:
        np.testing.assert_array_equal(images.read_rgb(folder / f"{row.name}.png"), image)


def test_no_graph_is_kept(tiny: Path) -> None:
    generator = models.generator(tiny)
    seen = []
    generator.backbone.denoiser.register_forward_hook(lambda _m, _i, out: seen.append(out.sample))
    restore(generator, picture(4, 4), 4)
    assert [x.requires_grad for x in seen] == [False]

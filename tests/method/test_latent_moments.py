"""Latent moments of pairs on disk: independent of the batch, equal to a plain computation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from omgsr.core import images
from omgsr.data.manifest import Row
from omgsr.method import latent_moments
from omgsr.models.backbones.base import Latent
from tests.helpers import models


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """17 pairs of three sizes, not sorted by size."""
    sizes = tuple([32, 32, 48, 32, 16, 16, 16, 32] * 2 + [32])
    return models.write_pairs(tmp_path_factory.mktemp("pairs"), 17, sizes=sizes)


def found(tiny: Path, rows: list[Row], batch: int, latent: Latent) -> list[latent_moments.Moment]:
    return list(latent_moments.pair_moments(models.backbone(tiny), rows, 4, batch, latent, seed=3))


def test_moments_are_those_of_each_image_alone(tiny: Path, rows: list[Row]) -> None:
    backbone = models.backbone(tiny)
    for row, (name, power, error) in zip(rows, found(tiny, rows, 4, "mode"), strict=True):
        hq, lq = images.read_rgb(row.hq), images.upscale(images.read_rgb(row.lq), 4)
        with torch.no_grad():
            z_hq, z_lq = (
                (backbone.vae.encode(images.to_tensor(x)[None]).latent_dist.mean - 0.1) * 1.7
                for x in (hq, lq)
            )
        assert name == row.name
        assert power == pytest.approx(float((z_hq**2).mean()), rel=1e-4)
        assert error == pytest.approx(float(((z_lq - z_hq) ** 2).mean()), rel=1e-4)


@pytest.mark.parametrize("latent", ["mode", "sample"])
def test_the_batch_size_does_not_matter(tiny: Path, rows: list[Row], latent: Latent) -> None:
    alone = found(tiny, rows, 1, latent)
    for batch in (3, 16, 100):
        together = found(tiny, rows, batch, latent)
        assert [name for name, _, _ in together] == [row.name for row in rows]
        values, expected = ([m[1:] for m in x] for x in (together, alone))
        np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_a_sample_is_noisier_than_the_mode(tiny: Path, rows: list[Row]) -> None:
    """Two independent draws add twice the posterior's variance to the error."""
    mode, sample = (found(tiny, rows[:4], 4, latent) for latent in ("mode", "sample"))
    assert all(s[2] > m[2] for s, m in zip(sample, mode, strict=True))


def test_samples_depend_on_seed_and_name(tiny: Path, rows: list[Row]) -> None:
    backbone = models.backbone(tiny)
    first, again, other = (
        list(latent_moments.pair_moments(backbone, rows[:2], 4, 2, "sample", seed=s))
        for s in (1, 1, 2)
    )
    assert first == again
    assert first != other
    renamed = Row(name="renamed", hq=rows[0].hq, lq=rows[0].lq)
    [moment] = latent_moments.pair_moments(backbone, [renamed], 4, 1, "sample", seed=1)
    assert moment[2] != pytest.approx(first[0][2], rel=1e-3)
    [alone] = latent_moments.pair_moments(backbone, rows[:1], 4, 1, "sample", seed=1)
    assert alone[2] == pytest.approx(first[0][2], rel=1e-4)


def test_columns(tiny: Path, rows: list[Row]) -> None:
    names, power, error = latent_moments.columns(found(tiny, rows[:3], 2, "mode"))
    assert names == ["image0", "image1", "image2"]
    assert power.shape == error.shape == (3,)
    assert power.dtype == error.dtype == np.float64


def test_a_pair_that_does_not_fit_is_named(tiny: Path, rows: list[Row]) -> None:
    wrong = [*rows[:3], Row(name="odd", hq=rows[2].hq, lq=rows[0].lq)]
    with pytest.raises(ValueError, match="odd: HQ 48x48 is not 4 times LQ 8x8"):
        found(tiny, wrong, 2, "mode")


def test_gradients_are_not_kept(tiny: Path, rows: list[Row]) -> None:
    backbone = models.backbone(tiny).requires_grad_(True)
    seen: list[bool] = []
    backbone.vae.encoder.register_forward_hook(lambda _m, _i, out: seen.append(out.requires_grad))
    list(latent_moments.pair_moments(backbone, rows[:2], 4, 2, "mode", seed=0))
    assert seen == [False] * 4


@pytest.mark.parametrize("torn", [b"", b'["image9", 0.', b'["image9", 0.5, 0.25]'])
def test_a_killed_run_continues_with_whole_batches(
    tiny: Path, rows: list[Row], tmp_path: Path, torn: bytes
) -> None:
    """The values are those of a run that nobody killed, to the last bit."""
    whole = found(tiny, rows, 4, "sample")
    path = tmp_path / "work" / "moments.jsonl"
    done = latent_moments.Journal(path)
    for moment in whole[:6]:
        done.add(moment)
    with path.open("ab") as file:
        file.write(torn)
    again = latent_moments.Journal(path)
    assert list(again.values()) == whole[:6]
    left = again.left(rows, 4)
    assert left == rows[4:]
    for moment in found(tiny, left, 4, "sample"):
        again.add(moment)
    assert [latent_moments.Journal(path)[row.name] for row in rows] == whole

"""Validation: held-out images, scores by hand, and the choice of the final adapters."""

from pathlib import Path

import numpy as np
import pytest
import torch

from omgsr.core import images
from omgsr.data import manifest
from omgsr.data.manifest import Row
from omgsr.evaluation import metrics, patterns
from omgsr.training.processes import Processes
from omgsr.training.validation import Validator, hold_out
from tests.helpers import flow_linked, models


def rows_of(images_: int, crops: int) -> list[Row]:
    return [
        Row(name=f"{i}_{c}", hq=f"{i}.png", lq=f"{i}_{c}.png")
        for i in range(images_)
        for c in range(crops)
    ]


@pytest.mark.parametrize(("count", "held"), [(2, 1), (10, 3), (40, 2), (7, 6)])
def test_images_are_held_out_whole_and_spread(count: int, held: int) -> None:
    rows = rows_of(count, 4)
    train, out = hold_out(rows, held)
    assert sorted(r.name for r in train + out) == sorted(r.name for r in rows)
    assert {r.hq for r in train}.isdisjoint(r.hq for r in out)
    places = [int(r.hq[:-4]) for r in out[::4]]
    assert len(out) == 4 * held
    assert max(np.diff([*places, count + places[0]])) <= -(-count // held) + 1


def test_holding_everything_out_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train.validation.images: got 3, .* 3 HQ images"):
        hold_out(rows_of(3, 2), 3)


def test_scores_are_those_of_the_saved_pictures(tiny: Path, tmp_path: Path) -> None:
    """PSNR by hand on the 8-bit luma, of pairs of two sizes."""
    rows = models.write_pairs(tmp_path, 3, sizes=(32, 32, 48))
    generator = models.generator(tiny, trained=0.05)
    check = Validator(rows, 4, metrics.load_all(["psnr", "ssim"])[0])
    scores = check(generator)
    expected = []
    for row in rows:
        x_lq = images.to_tensor(images.upscale(manifest.load_lq(row), 4))[None]
        with torch.no_grad():
            sr = images.to_array(generator(x_lq)[0][0].clamp(-1, 1)).astype(float)
        weights = np.array([65.481, 128.553, 24.966]) / 255
        error = ((sr - manifest.load_hq(row)) @ weights) ** 2
        expected.append(10 * np.log10(255**2 / error.mean()))
    assert scores["val/psnr"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert -1 <= scores["val/ssim"] <= 1
    assert check(generator) == scores


def test_metrics_are_computed_in_fp32_whatever_the_training_is(tiny: Path, tmp_path: Path) -> None:
    """NIQE and others differ in their second decimal under autocast."""
    rows = models.write_pairs(tmp_path, 2)
    generator = models.generator(tiny, trained=0.05)
    generator.precision = models.precision("fp32")
    ssim = metrics.load("ssim")
    seen = []
    ssim.model.register_forward_pre_hook(
        lambda _, given: seen.append((torch.is_autocast_enabled("cpu"), given[0].dtype))
    )
    plain = Validator(rows, 4, [ssim])(generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert Validator(rows, 4, [ssim])(generator) == plain
    assert seen == [(False, torch.float32)] * 4


def test_every_process_restores_equally_many_pairs(tiny: Path, tmp_path: Path) -> None:
    """Shards of a denoiser are gathered by all of them; what is restored twice is counted once."""
    rows = models.write_pairs(tmp_path, 5)
    psnr = metrics.load_all(["psnr"])[0]
    shares = [Validator(rows, 4, psnr, Processes(rank=r, count=3)).pairs for r in range(3)]
    names = [[pair.names for pair in share] for share in shares]
    assert names == [["image0", "image3"], ["image1", "image4"], ["image2", "image4"]]


def test_without_a_metric_nothing_is_said(tiny: Path, tmp_path: Path) -> None:
    check = Validator(models.write_pairs(tmp_path, 2), 4, [])
    assert check(models.generator(tiny)) == {}


@pytest.mark.parametrize("side", [256, 128, 112])
def test_the_pattern_of_tokens_is_measured_where_pairs_are_large_enough(
    tmp_path: Path, side: int
) -> None:
    _, folder = flow_linked.write(tmp_path, "flux1-dev")
    rows = models.write_pairs(tmp_path / "pairs", 2, sizes=(side, side))
    generator = models.generator(folder, trained=0.05)
    scores = Validator(rows, 4, [])(generator)
    if side < 128:
        assert scores == {}
        return
    expected = []
    for row in rows:
        x_lq = images.to_tensor(images.upscale(manifest.load_lq(row), 4))[None]
        with torch.no_grad():
            sr = images.to_array(generator(x_lq)[0][0].clamp(-1, 1))
        expected.append(float(patterns.pattern(images.to_tensor(sr)[None], 16)))
    assert scores == {"val/pattern": pytest.approx(np.mean(expected), abs=1e-3)}

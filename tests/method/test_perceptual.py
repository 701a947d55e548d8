"""LPIPS, ST-LPIPS and SSIM as losses, and what is said without weights.

LPIPS has random weights here, ST-LPIPS its own.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor

from omgsr.core import images
from omgsr.evaluation import metrics
from omgsr.evaluation.metrics import MetricError
from omgsr.method import perceptual
from omgsr.method.losses import Perceptual
from tests.helpers import models


@pytest.fixture(scope="module")
def network() -> Any:
    """The real architecture; VGG16's weights are not on this machine, so they are random."""
    from pyiqa.archs import lpips_arch
    from torchvision.models import vgg

    def features(weights: str) -> Any:
        return SimpleNamespace(features=vgg.make_layers(vgg.cfgs["D"]))

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(lpips_arch.models, "vgg16", features)
        return lpips_arch.LPIPS(pretrained=False, net="vgg")


def test_it_is_frozen_zero_for_equal_images_and_takes_minus_one_to_one(network: Any) -> None:
    x_lq, x_hq = models.pair()
    loss = perceptual.lpips(network.train())
    assert not any(p.requires_grad for p in network.parameters())
    assert not any(module.training for module in network.modules())
    assert float(loss(x_hq, x_hq).max()) == 0
    same = network((x_lq + 1) / 2, (x_hq + 1) / 2)  # PyIQA's own range, [0, 1]
    torch.testing.assert_close(loss(x_lq, x_hq), same.flatten())


def test_it_trains_the_adapters(tiny: Path, network: Any) -> None:
    made = models.trainer(tiny, losses={"lpips": 2.0, "l1": 1.0})
    loss = perceptual.lpips(network)
    made = type(made)(made.generator, made.features, made.settings, perceptual={"lpips": loss})
    x_lq, x_hq = models.pair()
    with torch.no_grad():
        expected = float(loss(made.generator(x_lq)[0], x_hq).mean())
    terms = made.update([models.batch()])
    assert terms["lpips"] == pytest.approx(expected, rel=1e-4)
    assert terms["generator"] == pytest.approx(2 * terms["lpips"] + terms["l1"], rel=1e-5)
    assert sum(float(p.grad.abs().sum()) for p in made._adapters if p.grad is not None) > 0


def test_without_the_network_the_loss_says_what_it_needs(tiny: Path) -> None:
    with pytest.raises(ValueError, match=r"lpips needs its network"):
        models.trainer(tiny, losses={"lpips": 1.0}).update([models.batch()])


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MetricError, match=r"lpips-vgg: unavailable, .*vgg.* not on this machine"):
        perceptual.load(["lpips"], torch.device("cpu"))


@pytest.fixture(scope="module")
def shift_tolerant() -> Perceptual:
    return perceptual.load(["stlpips", "l1"], torch.device("cpu"))["stlpips"]


def photographs(side: int = 96) -> Tensor:
    """Two crops in [-1, 1]: (2, 3, side, side)."""
    crops = [image[100 : 100 + side, 150 : 150 + side] for image in (data.chelsea(), data.coffee())]
    return torch.stack([images.to_tensor(crop) for crop in crops])


def blurred(x: Tensor, side: int = 3) -> Tensor:
    return F.avg_pool2d(F.pad(x, (side // 2,) * 4, mode="reflect"), side, stride=1)


def test_stlpips_is_the_metric_of_pyiqa(shift_tolerant: Perceptual) -> None:
    """To 1e-5: the scaling to [0, 1] and back rounds."""
    x_hq = photographs()
    worse = blurred(x_hq), blurred(x_hq, 9)
    found = [shift_tolerant(x, x_hq) for x in worse]
    metric = metrics.load("stlpips-vgg")
    for x, distance in zip(worse, found, strict=True):
        expected = metric((x + 1) / 2, (x_hq + 1) / 2)
        torch.testing.assert_close(distance.double(), expected, rtol=1e-5, atol=1e-6)
    assert float(shift_tolerant(x_hq, x_hq).abs().max()) == 0
    assert bool((found[0] > 0.01).all())
    assert bool((found[0] < found[1]).all())


def test_its_gradient_moves_the_image_and_nothing_else(shift_tolerant: Perceptual) -> None:
    """Down its own gradient a blurred picture comes nearer; flat ones have a finite gradient."""
    x_hq = photographs(64)
    x_sr = blurred(x_hq).requires_grad_()
    before = shift_tolerant(x_sr, x_hq)
    (gradient,) = torch.autograd.grad(before.sum(), x_sr)
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())
    step = 0.01 * gradient / gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
    assert bool((shift_tolerant(x_sr - step, x_hq) < before).all())
    for level in (-1.0, 0.0, 1.0):
        flat = torch.full((1, 3, 32, 32), level, requires_grad=True)
        (gradient,) = torch.autograd.grad(shift_tolerant(flat, x_hq[:1, :, :32, :32]).sum(), flat)
        assert bool(torch.isfinite(gradient).all())


def test_stlpips_trains_the_adapters(tiny: Path, shift_tolerant: Perceptual) -> None:
    made = models.trainer(tiny, losses={"stlpips": 2.0, "l1": 1.0})
    looked_at = {"stlpips": shift_tolerant}
    made = type(made)(made.generator, made.features, made.settings, perceptual=looked_at)
    terms = made.update([models.batch()])
    assert terms["generator"] == pytest.approx(2 * terms["stlpips"] + terms["l1"], rel=1e-5)
    assert sum(float(p.grad.abs().sum()) for p in made._adapters if p.grad is not None) > 0


def test_in_bf16_around_it_stays_fp32(shift_tolerant: Perceptual) -> None:
    x_hq = photographs(64)
    expected = shift_tolerant(blurred(x_hq), x_hq)
    with torch.autocast("cpu", torch.bfloat16):
        found = shift_tolerant(blurred(x_hq), x_hq)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_ssim_is_pyiqas_and_needs_no_weights(tiny: Path) -> None:
    """Against the metric `ssimc` of images in [0, 1], which rounds to 8 bits first."""
    x_lq, x_hq = models.pair()
    loss = perceptual.load(["ssim", "l1"], torch.device("cpu"))["ssim"]
    a, b = (((x + 1) / 2 * 255).round() / 255 for x in (x_lq, x_hq))
    expected = 1 - metrics.load("ssimc")(a, b)
    torch.testing.assert_close(
        loss(a * 2 - 1, b * 2 - 1).double(), expected, rtol=1e-3, atol=1e-3
    )
    assert float(loss(x_hq, x_hq).abs().max()) < 1e-6
    made = models.trainer(tiny, losses={"ssim": 2.0, "l2": 1.0})
    terms = made.update([models.batch()])
    assert terms["generator"] == pytest.approx(2 * terms["ssim"] + terms["l2"], rel=1e-5)
    assert sum(float(p.grad.abs().sum()) for p in made._adapters if p.grad is not None) > 0

"""LPIPS as a loss: PyIQA's architecture with random weights, and the message without weights."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from omgsr.evaluation import metrics
from omgsr.evaluation.metrics import MetricError
from omgsr.method import perceptual
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

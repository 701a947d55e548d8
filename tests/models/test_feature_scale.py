"""Levels of unit variance for the heads, and where a foundation's feature network is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from omgsr.core import files
from omgsr.method import losses
from omgsr.method.discriminator import Discriminator
from omgsr.models import feature_scale, feature_sources, features
from omgsr.models.features import Features
from omgsr.models.settings import SHIPPED
from omgsr.models.settings import Features as Section
from tests.helpers import hub

LITE = "tf_efficientnet_lite0"


def put(folder: Path, **section: Any) -> Features:
    feature_sources.ship(Section(**{"path": None, **section}), folder)
    return features.load(folder)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Features:
    return put(tmp_path_factory.mktemp("own"), name=LITE)


@pytest.fixture(scope="module")
def unit(tmp_path_factory: pytest.TempPathFactory) -> Features:
    return put(tmp_path_factory.mktemp("unit"), name=LITE, scale="unit")


def photographs() -> torch.Tensor:
    return torch.cat([feature_scale._middle(name) for name in feature_scale.PHOTOGRAPHS[:4]])


def test_levels_have_unit_variance_over_photographs(unit: Features) -> None:
    """To the digits that are kept."""
    assert feature_scale.spread(unit) == pytest.approx([1, 1, 1], abs=0.006)
    assert unit.level_std == pytest.approx([8.53, 7.62, 6.11], rel=0.002)


def test_heads_see_scaled_levels_and_dv3cd_the_networks_own(own: Features, unit: Features) -> None:
    x = photographs()[:1]
    assert unit.level_std is not None
    with torch.no_grad():
        (plain, chain), (scaled, same) = (n.plain_and_pooled(x, pooled=True) for n in (own, unit))
    for a, b, std in zip(plain, scaled, unit.level_std, strict=True):
        torch.testing.assert_close(a / std, b)
    assert all(map(torch.equal, chain, same))


def test_a_scale_would_not_change_dv3cd(own: Features) -> None:
    """Eq. 11 has ratios alone: what could be seen of it is the constant that keeps them finite."""
    x = photographs()
    soft = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    with torch.no_grad():
        first, second = (own.plain_and_pooled(y, pooled=True, plain=False)[1] for y in (x, soft))
        plain = losses.dists(first, second)
        scaled = losses.dists(*([f / 7 for f in maps] for maps in (first, second)))
    assert float(plain) > 0.1
    torch.testing.assert_close(plain, scaled, rtol=1e-4, atol=0)


def test_fresh_heads_have_a_smaller_gradient_of_scaled_levels(
    own: Features, unit: Features
) -> None:
    """By the spread of the deepest level, which has most of it."""

    def gradient(network: Features) -> float:
        torch.manual_seed(0)
        heads, x = Discriminator(network.channels), photographs()[:, :, :96, :96].requires_grad_()
        losses.gan(heads(network(x)), 0.8).backward()
        assert x.grad is not None
        return float(x.grad.norm())

    assert gradient(own) / gradient(unit) == pytest.approx(6.11, rel=0.25)


def test_a_measurement_is_not_of_scaled_levels(unit: Features, tmp_path: Path) -> None:
    """Measured once more it is the same."""
    put(tmp_path, name=LITE, scale="unit")
    feature_scale.write(tmp_path)
    assert files.read_json(tmp_path / "config.json")["level_std"] == unit.level_std


@pytest.mark.parametrize("name", SHIPPED)
def test_what_the_package_carries_has_the_name_that_chooses_it(name: str) -> None:
    config = files.read_json(feature_sources.shipped(name) / "config.json")
    assert config["architecture"] == name
    assert "level_std" not in config


def test_what_departs_from_the_paper_is_in_the_card(tmp_path: Path) -> None:
    put(tmp_path / "a", name="convnext_atto")
    put(tmp_path / "b", name=LITE, scale="unit")
    plain, other = (features.describe(tmp_path / name) for name in "ab")
    assert plain.keys() == {"name", "sha256"}
    assert other["level_std"] == [8.53, 7.62, 6.11]
    assert other["departure"] == (
        "tf_efficientnet_lite0 in place of a DINOv3-ConvNeXt, levels of unit variance for the "
        "discriminator"
    )


def test_weights_of_the_user_come_before_the_packages(tmp_path: Path) -> None:
    folder = hub.write_convnext(tmp_path / "hub", LITE)
    put(tmp_path / "features", name=LITE, path=str(folder), scale="unit")
    found, carried = (features.describe(f) for f in (tmp_path / "features",
                                                     feature_sources.shipped(LITE)))  # fmt: skip
    assert found["sha256"] != carried["sha256"]
    assert len(found["level_std"]) == 3

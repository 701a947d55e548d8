"""Discriminator heads: any size from 32 px, one map a level, anti-aliased; the official kind."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from omgsr.method import official_heads
from omgsr.method.discriminator import Discriminator
from omgsr.method.settings import Heads
from tests.helpers import models


@pytest.mark.parametrize("side", [32, 64, 96, 192, 1024])
def test_one_map_a_level_with_stride_32(tiny: Path, side: int) -> None:
    network = models.feature_network(tiny)
    heads = Discriminator(network.channels)
    with torch.no_grad():
        logits = heads(network(torch.rand(1, 3, side, side) * 2 - 1))
    assert [tuple(x.shape) for x in logits] == [(1, 1, side // 32, side // 32)] * 3
    assert all(bool(torch.isfinite(x).all()) for x in logits)


def test_images_that_are_not_square_or_multiples_of_32(tiny: Path) -> None:
    network = models.feature_network(tiny)
    logits = Discriminator(network.channels)(network(torch.rand(2, 3, 48, 80)))
    assert {tuple(x.shape) for x in logits} <= {(2, 1, 1, 2), (2, 1, 2, 3)}


def test_each_head_sees_its_own_level_alone(tiny: Path) -> None:
    network = models.feature_network(tiny)
    heads = Discriminator(network.channels)
    maps = network(torch.rand(1, 3, 64, 64))
    before = heads(maps)
    maps[1] = maps[1] + 1
    after = heads(maps)
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_the_logits_are_not_bounded(tiny: Path) -> None:
    """The sigmoid belongs to the loss: large features give logits beyond [0, 1]."""
    network = models.feature_network(tiny)
    heads = Discriminator(network.channels)
    logits = heads([1000 * f for f in network(torch.rand(1, 3, 64, 64))])
    assert max(float(x.detach().abs().max()) for x in logits) > 1


def test_every_head_has_a_gradient(tiny: Path) -> None:
    network = models.feature_network(tiny)
    heads = Discriminator(network.channels)
    torch.stack([x.sum() for x in heads(network(torch.rand(1, 3, 64, 64)))]).sum().backward()
    assert all(p.grad is not None for p in heads.parameters())


def test_the_number_of_levels_must_fit(tiny: Path) -> None:
    network = models.feature_network(tiny)
    with pytest.raises(ValueError, match="zip"):
        Discriminator(network.channels[:2])(network(torch.rand(1, 3, 32, 32)))


def test_a_head_passes_less_of_a_checkerboard_than_strided_convolutions_would() -> None:
    """Blurred before halving: a one-pixel checkerboard leaves a first halving as a constant."""
    first_blur = Discriminator([4, 4, 4]).heads[0][2]
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2.0 - 1
    inside = first_blur(board.expand(1, 32, 16, 16))[..., 1:-1, 1:-1]
    assert float(inside.abs().max()) == pytest.approx(0, abs=1e-6)


def test_singular_values_are_estimated_once_a_step_and_not_a_pass() -> None:
    judge = Discriminator([8, 12, 16], spectral=True).train()
    maps = [torch.randn(1, c, s, s) for c, s in ((8, 16), (12, 8), (16, 4))]

    def estimates() -> list[torch.Tensor]:
        return [v.clone() for k, v in judge.state_dict().items() if k.endswith(("._u", "._v"))]

    before = estimates()
    judge(maps)
    judge(maps)
    assert len(before) > 10
    assert all(map(torch.equal, before, estimates()))
    judge.iterate()
    after = estimates()  # those of a single output are right at once
    assert sum(map(torch.equal, before, after)) == 2 * len(judge.heads)


LARGE = [192, 384, 768]
"""Channels of ConvNeXt-L's first three levels."""


def test_official_heads_have_the_published_number_of_weights() -> None:
    def weights(kind: Heads) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in Discriminator(LARGE, kind=kind).parameters())

    assert weights("official") == 4_729_443
    assert weights("map") == 5_730_915


@pytest.mark.parametrize("side", [384, 512, 768, 1024])
def test_official_heads_give_one_logit_a_level(side: int) -> None:
    heads = Discriminator([2, 2, 2], kind="official")
    with torch.no_grad():
        logits = heads([torch.rand(2, 2, side // s, side // s) for s in (4, 8, 16)])
    assert [tuple(x.shape) for x in logits] == [(2, 1, 1, 1)] * 3


@pytest.mark.parametrize("size", [(256, 256), (380, 512), (512, 256)])
def test_official_heads_refuse_small_images(size: tuple[int, int]) -> None:
    heads = Discriminator([2, 2, 2], kind="official")
    maps = [torch.rand(1, 2, size[0] // s, size[1] // s) for s in (4, 8, 16)]
    said = rf"train.heads: official takes images of 384 px or more, got {size[0]} x {size[1]}; set"
    with pytest.raises(ValueError, match=said):
        heads(maps)


def test_the_official_filter_by_hand() -> None:
    """Windows of four that begin one before the image, of weights 1, 3, 3, 1 eighths."""
    x = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    taps, padded = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8, F.pad(x, (1, 3, 1, 3))
    found = official_heads.Blur()(x)
    assert found.shape == (1, 3, 3, 3)
    for i in range(3):
        for j in range(3):
            window = padded[0, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
            torch.testing.assert_close(found[0, :, i, j], (window @ taps) @ taps)


def test_a_filter_is_before_every_official_convolution_and_every_one_is_normalised() -> None:
    judge = Discriminator([8, 8, 8], spectral=True, kind="official")
    for head in judge.heads:
        layers = list(head.children())
        assert len([x for x in layers if isinstance(x, torch.nn.Conv2d)]) == 5
        for before, layer in pairwise(layers):
            if isinstance(layer, torch.nn.Conv2d):
                assert isinstance(before, official_heads.Blur)
                assert layer.stride == (2, 2)
    assert len(judge._norms) == 15

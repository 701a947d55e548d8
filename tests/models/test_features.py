"""Frozen ConvNeXt levels (Eq. 8) and L2 pooling (Eq. 10) against plain computations."""

import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from omgsr.models import features
from tests.helpers import models

STAGES = ("stages.0", "stages.1", "stages.2")


def pooled_by_hand(x: torch.Tensor) -> torch.Tensor:
    """sqrt(sum_ij w_ij x_ij^2), w = [1 2 1]^T [1 2 1] / 16: a Hann window of 5 within."""
    hann = [math.sin(math.pi * k / 4) ** 2 for k in (1, 2, 3)]
    total = sum(a * b for a in hann for b in hann)
    out = torch.zeros_like(x)
    height, width = x.shape[-2:]
    for row in range(height):
        for column in range(width):
            for i, a in enumerate(hann):
                for j, b in enumerate(hann):
                    y, z = row + i - 1, column + j - 1
                    if 0 <= y < height and 0 <= z < width:
                        out[..., row, column] += a * b / total * x[..., y, z] ** 2
    return out.sqrt()


def test_l2_pooling_equals_the_direct_formula() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(features.l2_pool(x), pooled_by_hand(x))


def test_l2_pooling_of_one_pixel() -> None:
    """A single 4: 4 * sqrt(4/16) = 2 in its place, sqrt(2/16) * 4 beside it, 1 at the corner."""
    x = torch.zeros(1, 1, 5, 5)
    x[..., 2, 2] = -4
    pooled = features.l2_pool(x)[0, 0]
    assert pooled[2, 2].item() == pytest.approx(2)
    assert pooled[2, 1].item() == pytest.approx(math.sqrt(2))
    assert pooled[1, 1].item() == pytest.approx(1)


def test_l2_pooling_has_a_finite_gradient_at_zero() -> None:
    x = torch.zeros(1, 1, 3, 3, requires_grad=True)
    features.l2_pool(x).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def plain_model() -> nn.Module:
    torch.manual_seed(0)
    arguments = dict(models.CONVNEXT["arguments"])  # type: ignore[call-overload]
    return timm.create_model("convnext_atto", num_classes=0, **arguments).eval()


def test_levels_are_the_stages_of_timm() -> None:
    model = plain_model()
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    wrapped = features.Features(model, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    with torch.no_grad():
        f = model.stem(((x + 1) / 2 - wrapped.mean) / wrapped.std)
        expected = []
        for stage in model.stages[:3]:
            f = stage(f)
            expected.append(f)
        got = wrapped(x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert [f.shape[1] for f in got] == wrapped.channels == [8, 12, 16]
    assert [f.shape[2] for f in got] == [16, 8, 4]


def test_the_pooled_chain_feeds_every_pooled_map_into_the_next_stage() -> None:
    """Eq. 10: L^l = pool(Stage_l(Down_l(L^{l-1}))), L^0 = the image in [0, 1]."""
    model = plain_model()
    wrapped = features.Features(model, (0.5,) * 3, (0.5,) * 3)
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        plain, chain = wrapped.plain_and_pooled(x, pooled=True)
        first = pooled_by_hand(model.stages[0](model.stem(x)))
        second = pooled_by_hand(model.stages[1](first))
        third = pooled_by_hand(model.stages[2](second))
    torch.testing.assert_close(chain[0], (x + 1) / 2)
    for a, b in zip(chain[1:], (first, second, third), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for a, b in zip(plain, wrapped(x), strict=True):
        assert torch.equal(a, b)


def test_without_pooling_no_chain_is_computed(tiny: Path) -> None:
    _, chain = models.feature_network(tiny).plain_and_pooled(torch.zeros(1, 3, 32, 32))
    assert chain == []


def test_the_features_stay_frozen_and_in_evaluation(tiny: Path) -> None:
    network = models.feature_network(tiny).train()
    assert not any(m.training for m in network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    x = torch.zeros(1, 3, 32, 32, requires_grad=True)
    network(x)[2].sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any())


def test_save_and_load_in_half_precision(tmp_path: Path) -> None:
    model = plain_model()
    features.save(model, tmp_path, models.CONVNEXT)
    loaded = features.load(tmp_path)
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        plain = features.Features(model, (0.5,) * 3, (0.5,) * 3)(x)
        for a, b in zip(loaded(x), plain, strict=True):
            assert a.dtype == torch.float32
            torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)
    about = features.describe(tmp_path)
    assert about["name"] == "convnext_atto"
    assert len(about["sha256"]) == 64


def test_other_networks_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a timm ConvNeXt or EfficientNet, got Linear"):
        features.Features(nn.Linear(1, 1), (0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize("side", [64, 96, 200, 1024])
def test_levels_and_pooling_take_any_resolution(tiny: Path, side: int) -> None:
    """Strides 4, 8 and 16; a side that they do not divide loses its last pixels."""
    network = models.feature_network(tiny)
    with torch.no_grad():
        plain, chain = network.plain_and_pooled(torch.rand(1, 3, side, side) * 2 - 1, pooled=True)
    sides = [side // 4, side // 4 // 2, side // 4 // 2 // 2]
    for maps in (plain, chain[1:]):
        assert [tuple(f.shape) for f in maps] == [
            (1, c, s, s) for c, s in zip((8, 12, 16), sides, strict=True)
        ]
        assert all(bool(torch.isfinite(f).all()) for f in maps)


def test_only_three_levels_are_stored_and_kept(tmp_path: Path) -> None:
    model = plain_model()
    features.save(model, tmp_path, models.CONVNEXT)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert names == {n for n in model.state_dict() if n.startswith("stem") or n[:8] in STAGES}
    kept = sum(p.numel() for p in features.load(tmp_path).parameters())
    assert kept == sum(p.numel() for n, p in model.named_parameters() if n in names)


def test_weights_stored_with_a_fourth_level_are_read_without_it(tmp_path: Path) -> None:
    """The shipped file has it."""
    model = plain_model()
    features.write(model.state_dict(), tmp_path, models.CONVNEXT)
    loaded, x = features.load(tmp_path), torch.rand(1, 3, 32, 32) * 2 - 1
    assert len(list(loaded.parameters())) < len(list(model.parameters()))
    with torch.no_grad():
        expected = features.Features(model, (0.5,) * 3, (0.5,) * 3)(x)
        for a, b in zip(loaded(x), expected, strict=True):
            assert torch.equal(a, b)


def gradient(network: features.Features, x: torch.Tensor) -> torch.Tensor:
    x = x.clone().requires_grad_()
    plain, chain = network.plain_and_pooled(x, pooled=True)
    torch.stack([f.square().mean() for f in plain + chain]).sum().backward()
    assert x.grad is not None
    return x.grad


def test_checkpointing_computes_twice_and_changes_no_gradient(tiny: Path) -> None:
    network = models.feature_network(tiny)
    calls = []
    network.levels[2][-1].register_forward_pre_hook(lambda *_: calls.append(1))
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    network.checkpointing(False)
    kept = gradient(network, x)
    assert len(calls) == 2  # plain and pooled
    network.checkpointing(True)
    calls.clear()
    again = gradient(network, x)
    assert len(calls) == 4
    assert torch.equal(kept, again)
    network.checkpointing(False)
    calls.clear()
    gradient(network, x)
    assert len(calls) == 2


def test_checkpointing_keeps_less_for_the_gradient(tiny: Path) -> None:
    network = models.feature_network(tiny)

    def kept(on: bool) -> int:
        sizes = []
        network.checkpointing(on)
        x = torch.zeros(1, 3, 64, 64, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            network(x)
        return sum(sizes)

    assert kept(True) < kept(False) / 2

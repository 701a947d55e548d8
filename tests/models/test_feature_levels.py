"""The levels of both families of timm's networks: cut right, pooled, recomputed, refused."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from omgsr.models import feature_levels, features
from omgsr.models.features import Features, l2_pool

SMALL_CONVNEXT = {"depths": [1, 2, 1, 1], "dims": [8, 12, 16, 8]}
NETWORKS: dict[str, tuple[str, dict[str, Any], list[int]]] = {
    "ConvNeXt": ("convnext_atto", SMALL_CONVNEXT, [8, 12, 16]),
    "EfficientNet": ("tf_efficientnet_lite0", {}, [24, 40, 112]),
}
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(params=NETWORKS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def network(kind: str) -> Any:
    """timm's whole network with random weights, and statistics of batch norms that do something."""
    name, arguments, _ = NETWORKS[kind]
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **arguments).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    return model


def image(side: int = 64, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(2, 3, side, side, generator=rng) * 2 - 1


def test_levels_are_what_timm_says_has_strides_4_8_and_16(kind: str) -> None:
    model, x = network(kind), image()
    taken = [i for i, info in enumerate(model.feature_info) if info["reduction"] in (4, 8, 16)]
    with torch.no_grad():
        expected = model.forward_intermediates(x, indices=taken, intermediates_only=True)
        got = Features(model, HALF, HALF)(x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    channels = NETWORKS[kind][2]
    assert [tuple(f.shape) for f in got] == [
        (2, c, s, s) for c, s in zip(channels, (16, 8, 4), strict=True)
    ]
    assert Features(model, HALF, HALF).channels == channels


def stages(model: Any, kind: str) -> list[list[nn.Module]]:
    """timm's own modules between one level and the next."""
    if kind == "ConvNeXt":
        return [[model.stem, model.stages[0]], [model.stages[1]], [model.stages[2]]]
    first = [model.conv_stem, model.bn1, *model.blocks[:2]]
    return [first, [model.blocks[2]], list(model.blocks[3:5])]


def test_every_pooled_map_goes_into_the_next_level(kind: str) -> None:
    """Eq. 10: L^0 is the image in [0, 1], each L^l is pooled and goes on so."""
    model, x = network(kind), image()
    with torch.no_grad():
        plain, chain = Features(model, HALF, HALF).plain_and_pooled(x, pooled=True)
        torch.testing.assert_close(chain[0], (x + 1) / 2)
        f = x
        for modules, found in zip(stages(model, kind), chain[1:], strict=True):
            f = l2_pool(nn.Sequential(*modules)(f))
            torch.testing.assert_close(found, f)
        for a, b in zip(Features(model, HALF, HALF)(x), plain, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("side", [32, 50, 96])
def test_any_resolution(kind: str, side: int) -> None:
    with torch.no_grad():
        plain, chain = Features(network(kind), HALF, HALF).plain_and_pooled(image(side), True)
    for a, b, stride in zip(plain, chain[1:], feature_levels.STRIDES, strict=True):
        assert a.shape == b.shape
        assert abs(a.shape[-1] - side / stride) < 1  # TensorFlow's padding rounds up, timm's down
        assert bool(torch.isfinite(a).all())
        assert bool((b >= 0).all())


def test_they_stay_frozen_and_in_evaluation(kind: str) -> None:
    looked = Features(network(kind), HALF, HALF)
    x, before = image(), {k: v.clone() for k, v in looked.state_dict().items()}
    with torch.no_grad():
        once = looked(x)
        again = looked.train()(x + 0)
    assert not any(m.training for m in looked.modules())
    assert not any(p.requires_grad for p in looked.parameters())
    assert all(map(torch.equal, once, again))
    assert all(torch.equal(v, before[k]) for k, v in looked.state_dict().items())


def gradient(looked: Features, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    plain, chain = looked.plain_and_pooled(x, pooled=True)
    torch.stack([f.square().mean() for f in plain + chain]).sum().backward()
    assert x.grad is not None
    return x.grad


def kept(looked: Features) -> int:
    """Numbers that one pass keeps for the gradient, each tensor as often as it is kept."""
    sizes: list[int] = []
    x = image().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: sizes.append(t.numel()) or t, lambda t: t
    ):
        looked(x)
    return sum(sizes)


def test_checkpointing_keeps_less_and_changes_no_gradient(kind: str) -> None:
    looked = Features(network(kind), HALF, HALF)
    calls: list[int] = []
    looked.levels[2][-1].register_forward_pre_hook(lambda *_: calls.append(1))
    found = {}
    for on, passes in ((False, 2), (True, 4), (False, 2)):  # plain and pooled, and both again
        calls.clear()
        looked.checkpointing(on)
        found[on] = gradient(looked, image()), kept(looked)
        assert len(calls) == passes + 1
    assert torch.equal(found[True][0], found[False][0])
    assert found[True][1] < found[False][1] / 2


def test_only_what_the_levels_need_is_kept_and_stored(kind: str, tmp_path: Path) -> None:
    """Stored in half precision but for what batch norms count."""
    name, arguments, _ = NETWORKS[kind]
    model = network(kind)
    features.save(model, tmp_path, {"architecture": name, "arguments": arguments,
                                    "mean": HALF, "std": HALF})  # fmt: skip
    stored = load_file(tmp_path / "model.safetensors")
    pruned = feature_levels.prune(network(kind))
    assert stored.keys() == pruned.state_dict().keys()
    assert len(stored) < len(model.state_dict())
    assert {v.dtype for v in stored.values()} <= {torch.float16, torch.int64}
    loaded, x = features.load(tmp_path), image()
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    with torch.no_grad():
        for a, b in zip(loaded(x), Features(model, HALF, HALF)(x), strict=True):
            # 11 bits a weight, over twelve blocks of random ones.
            assert float((a - b).norm() / b.norm()) < 0.03


def test_other_classes_and_strides_are_refused() -> None:
    with pytest.raises(ValueError, match="expected a timm ConvNeXt or EfficientNet, got ResNet"):
        feature_levels.prune(timm.create_model("resnet18", device="meta"))
    flat = timm.create_model("tf_efficientnet_lite0", output_stride=8, device="meta")
    with pytest.raises(ValueError, match=r"expected levels of strides \[4, 8, 16\] at .*blocks\.4"):
        feature_levels.prune(flat)


@pytest.mark.parametrize("name", ["mobilenetv2_050", "efficientnet_b0", "tf_efficientnetv2_b0"])
def test_other_networks_of_a_known_class_have_their_levels(name: str) -> None:
    model = feature_levels.prune(timm.create_model(name, num_classes=0))
    with torch.no_grad():
        maps = Features(model, HALF, HALF)(image())
    assert [f.shape[-1] for f in maps] == [16, 8, 4]

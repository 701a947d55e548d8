"""Adapters: a fresh one changes nothing, a saved one comes back, PEFT itself reads the folder."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import nn

from omgsr.method import adapter_files, lora
from omgsr.models.backbones.stable_diffusion import DENOISER_TARGETS
from tests.helpers import models

TARGETS = ("conv1", "conv2", "conv_in")


def encoder(tiny: Path) -> nn.Module:
    return models.backbone(tiny).vae.encoder


def moved(module: nn.Module) -> nn.Module:
    """The module with an adapter that is not the identity any more."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in lora.parameters(module):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))
    return module


def run(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(models.pair()[0])


def test_a_fresh_adapter_is_the_identity(tiny: Path) -> None:
    plain = run(encoder(tiny))
    assert torch.equal(run(lora.add(encoder(tiny), 2, TARGETS, seed=0)), plain)


def test_only_the_named_layers_get_an_adapter(tiny: Path) -> None:
    wrapped = lora.add(encoder(tiny), 2, ("conv_in", "no_such_layer"), seed=0)
    names = [name for name, _ in wrapped.named_parameters() if "lora_" in name]
    assert len(names) == 2
    assert all(".conv_in." in name for name in names)


def test_the_rank_is_the_inner_width(tiny: Path) -> None:
    wrapped = lora.add(encoder(tiny), 3, ("conv_in",), seed=0)
    a, b = lora.parameters(wrapped)
    assert (a.shape[0], b.shape[1]) == (3, 3)
    assert not b.any()
    assert a.std() > 0


def test_alpha_equals_the_rank(tiny: Path) -> None:
    """W x + B A x, unscaled: 1x1 weights by hand."""
    wrapped = lora.add(nn.Sequential(nn.Linear(2, 2, bias=False)), 2, ("0",), seed=0)
    a, b = lora.parameters(wrapped)
    x = torch.tensor([[1.0, -2.0]])
    plain = wrapped(x)
    with torch.no_grad():
        a.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        b.copy_(torch.tensor([[0.0, 1.0], [3.0, 0.0]]))
        torch.testing.assert_close(wrapped(x) - plain, torch.tensor([[-4.0, 3.0]]))


def test_the_seed_decides_the_weights_and_the_global_generator_is_left_alone(tiny: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (lora.add(encoder(tiny), 2, TARGETS, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(lora.parameters(first)[0], lora.parameters(again)[0])
    assert not torch.equal(lora.parameters(first)[0], lora.parameters(other)[0])


def test_disabled_gives_the_module_without_its_adapter(tiny: Path) -> None:
    plain, wrapped = run(encoder(tiny)), moved(lora.add(encoder(tiny), 2, TARGETS, seed=0))
    adapted = run(wrapped)
    assert not torch.allclose(adapted, plain, atol=1e-4)
    with lora.disabled(wrapped):
        assert torch.equal(run(wrapped), plain)
    assert torch.equal(run(wrapped), adapted)
    assert all(p.requires_grad for p in lora.parameters(wrapped))


def test_disabled_ends_with_an_error_inside(tiny: Path) -> None:
    wrapped = moved(lora.add(encoder(tiny), 2, TARGETS, seed=0))
    adapted = run(wrapped)
    with pytest.raises(KeyError), lora.disabled(wrapped):
        raise KeyError
    assert torch.equal(run(wrapped), adapted)


def test_disabled_takes_a_module_without_adapter(tiny: Path) -> None:
    plain = encoder(tiny)
    with lora.disabled(plain):
        assert torch.equal(run(plain), run(encoder(tiny)))


def test_save_and_load_give_the_same_output(tiny: Path, tmp_path: Path) -> None:
    wrapped = moved(lora.add(encoder(tiny), 2, TARGETS, seed=0))
    lora.save(wrapped, tmp_path)
    loaded = adapter_files.load(encoder(tiny), tmp_path)
    assert torch.equal(run(loaded), run(wrapped))


def test_the_folder_is_what_peft_itself_reads(tiny: Path, tmp_path: Path) -> None:
    wrapped = moved(lora.add(encoder(tiny), 2, TARGETS, seed=0))
    lora.save(wrapped, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]
    (tmp_path.parent / "plain").touch()
    modes = {path.stat().st_mode for path in (*tmp_path.iterdir(), tmp_path.parent / "plain")}
    assert len(modes) == 1  # a colleague reads them
    assert torch.equal(run(PeftModel.from_pretrained(encoder(tiny), str(tmp_path))), run(wrapped))
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 2)
    assert config["base_model_name_or_path"] is None  # no path of this machine


def test_the_config_does_not_follow_the_hash_seed(tiny: Path, tmp_path: Path) -> None:
    """PEFT keeps the target modules in a set, whose order differs from process to process."""
    lora.save(lora.add(models.backbone(tiny).denoiser, 2, DENOISER_TARGETS, 0), tmp_path)
    names = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert len(names) > 8  # so that a set would hardly ever be sorted
    assert names == sorted(names)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(tiny: Path, tmp_path: Path, name: str) -> None:
    lora.save(lora.add(encoder(tiny), 2, TARGETS, seed=0), tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(adapter_files.AdapterError, match=f"{name}: missing"):
        adapter_files.load(encoder(tiny), tmp_path)


def test_no_layer_of_the_names_is_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match="Encoder has no layer named one of to_x, to_y"):
        lora.add(encoder(tiny), 2, ("to_x", "to_y"), seed=0)


def test_a_rank_below_one_is_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match="a LoRA rank is 1 or more, got 0"):
        lora.add(encoder(tiny), 0, TARGETS, seed=0)


def test_a_name_that_something_without_weights_has_too_is_spelt_out(tmp_path: Path) -> None:
    """PEFT would refuse to adapt a shortcut that is none; the folder loads as any other."""

    def blocks() -> nn.Module:
        shortcuts = (nn.Identity(), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
        return nn.Sequential(
            *(nn.ModuleDict({"shortcut": one, "conv": nn.Conv2d(4, 4, 1)}) for one in shortcuts)
        )

    lora.save(lora.add(blocks(), 2, ("conv", "shortcut"), seed=0), tmp_path)
    found = [name for name, _ in adapter_files.load(blocks(), tmp_path).named_parameters()]
    layers = {n.split(".lora_A")[0].removeprefix("base_model.model.") for n in found if "A" in n}
    assert layers == {"0.conv", "1.conv", "2.conv", "1.shortcut", "2.shortcut"}

"""Adapters of transformers travel both ways: the official OMGSR-F's in, ours out."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from omgsr.cli import main
from omgsr.core import images
from omgsr.method import run_card
from omgsr.method.run_card import RunError
from tests.helpers import flow_linked, models, plain_diffusers
from tests.helpers.closeness import apart
from tests.method.test_run_card import fields

ENCODER = ["conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out", "to_k", "to_q",
           "to_v", "to_out.0"]  # fmt: skip
TRANSFORMER = ["x_embedder", "attn.to_k", "attn.to_q", "attn.to_v", "attn.to_out.0",
               "attn.add_k_proj", "attn.add_q_proj", "attn.add_v_proj", "attn.to_add_out",
               "ff.net.0.proj", "ff.net.2", "ff_context.net.0.proj",
               "ff_context.net.2"]  # fmt: skip
T = 244


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model folder, foundation folder) of the miniature."""
    return flow_linked.write(tmp_path_factory.mktemp("travel"), "flux1-dev")


def adapted(module: nn.Module, name: str, targets: list[str]) -> PeftModel:
    """As the official training names its adapters, with weights as after some steps."""
    config = LoraConfig(r=2, lora_alpha=2, init_lora_weights="gaussian", target_modules=targets)
    model: Any = get_peft_model(module, config, adapter_name=name)
    for key, parameter in model.named_parameters():
        if "lora_" in key:
            nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture(scope="module")
def released(
    flux: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Tensor]:
    """A folder in the layout of the release, and what its networks make of `picture`."""
    plain, folder = plain_diffusers.load("flux1-dev", flux[0]), tmp_path_factory.mktemp("released")
    plain.vae.encoder = adapted(plain.vae.encoder, "vae_encoder_adapter", ENCODER)
    plain.transformer = adapted(plain.transformer, "flux_adapter", TRANSFORMER)
    for model in (plain.vae.encoder, plain.transformer):
        model.save_pretrained(folder)
    sigma = math.exp(1.15) / (math.exp(1.15) + 999 / 244 - 1)
    with torch.no_grad():
        z = plain.encode(picture())
        prompt = run_card.from_folder.load(flux[1]).prompt
        return folder, plain.decode(z - sigma * plain.velocity(z, sigma, prompt))


def picture() -> Tensor:
    return torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_official_folders_load_without_a_card(
    flux: tuple[Path, Path], released: tuple[Path, Tensor]
) -> None:
    folder, expected = released
    found = {p.name for p in folder.iterdir() if p.is_dir()}
    assert found == {"flux_adapter", "vae_encoder_adapter"}
    generator, card = run_card.load(folder, flux[1], T)
    assert card is None
    with torch.no_grad():
        assert apart([generator(picture())[0]], [expected]) < 1e-5
    assert set(run_card.hashes(folder)) == {"flux_adapter", "vae_encoder_adapter"}


def test_the_timestep_has_to_be_said(
    flux: tuple[Path, Path], released: tuple[Path, Tensor]
) -> None:
    with pytest.raises(RunError, match=r"give --timestep.*FLUX\.1-dev: 244"):
        run_card.load(released[0], flux[1])


def test_the_command_restores_with_them(
    flux: tuple[Path, Path], released: tuple[Path, Tensor], tmp_path: Path
) -> None:
    """Of a size that is no multiple of 16."""
    rng = np.random.default_rng(0)
    images.write_png(tmp_path / "in.png", rng.integers(0, 256, (11, 9, 3), dtype=np.uint8))
    given = ["--model", released[0], "--foundation", flux[1], "-o", tmp_path / "out",
             "--timestep", T, "--device", "cpu", tmp_path / "in.png"]  # fmt: skip
    assert main(["upscale", *map(str, given)]) == 0
    assert images.read_rgb(tmp_path / "out" / "in.png").shape == (44, 36, 3)


def test_ours_load_in_plain_diffusers_and_peft(flux: tuple[Path, Path], tmp_path: Path) -> None:
    generator = models.generator(flux[1], T, trained=0.1)
    run_card.save(generator, tmp_path, fields(flux[1], t=T))
    plain = plain_diffusers.load("flux1-dev", flux[0])
    plain.vae.encoder = PeftModel.from_pretrained(
        plain.vae.encoder, tmp_path / "vae_encoder_lora_adapter"
    )
    plain.transformer = PeftModel.from_pretrained(
        plain.transformer, tmp_path / "transformer_lora_adapter"
    )
    x, sigma = picture(), generator.backbone.schedule.coefficients(T)[1]
    with torch.no_grad():
        z = plain.encode(x)
        expected = plain.decode(z - sigma * plain.velocity(z, sigma, generator.backbone.prompt))
        assert apart([generator(x)[0]], [expected]) < 1e-5


def test_adapters_of_a_unet_are_refused(
    flux: tuple[Path, Path], tiny: Path, tmp_path: Path
) -> None:
    run_card.save(models.generator(tiny, T), tmp_path, fields(tiny, t=T))
    (tmp_path / "omgsr.json").unlink()
    with pytest.raises(ValueError, match="made for another backbone than this"):
        run_card.load(tmp_path, flux[1], T)

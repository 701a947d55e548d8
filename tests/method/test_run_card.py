"""A run folder gives back the same generator, and says what is wrong with a broken one."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from omgsr.core import files
from omgsr.core.settings import ConfigError
from omgsr.method import run_card
from omgsr.method.generator import Generator
from omgsr.method.run_card import DENOISER, ENCODER, RunError
from tests.helpers import models


def fields(foundation: Path, **changes: Any) -> dict[str, Any]:
    values = {
        "variant": "full", "t": 321, "t_source": "auto", "losses": models.WEIGHTS,
        "latent": "mode", "encoder_rank": 2, "unet_rank": 3, "steps": 4, "prompt": "", "seed": 0,
        "scale": 4, "foundation": files.read_json(foundation / "foundation.json"),
    }  # fmt: skip
    return values | changes


def saved(foundation: Path, folder: Path, **changes: Any) -> Generator:
    values = fields(foundation, **changes)
    generator = models.generator(foundation, values["t"], values["latent"], trained=0.2)
    run_card.save(generator, folder, values)
    return generator.requires_grad_(False)  # kernels differ in the last bit where a gradient is due


def restored(generator: Generator) -> torch.Tensor:
    with torch.no_grad():
        return generator(models.pair()[0], torch.Generator().manual_seed(0))[0]


@pytest.mark.parametrize("latent", ["mode", "sample"])
@pytest.mark.parametrize("t", [1, 321])
def test_save_and_load_give_the_same_output(
    tiny: Path, tmp_path: Path, latent: str, t: int
) -> None:
    """Timestep and kind of latent come from the card: nobody says them again."""
    generator = saved(tiny, tmp_path, t=t, latent=latent)
    loaded, card = run_card.load(tmp_path, tiny)
    assert torch.equal(restored(loaded), restored(generator))
    assert (loaded.t, loaded.latent, card.t, card.variant) == (t, latent, t, "full")
    assert not torch.allclose(restored(loaded), restored(models.generator(tiny, t, latent)))


def test_a_loaded_generator_is_ready_for_inference(tiny: Path, tmp_path: Path) -> None:
    saved(tiny, tmp_path)
    loaded, _ = run_card.load(tmp_path, tiny)
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not any(m.training for m in loaded.modules())


def test_the_folder_has_the_official_layout(tiny: Path, tmp_path: Path) -> None:
    generator = saved(tiny, tmp_path)
    found = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert found == [
        "omgsr.json",
        "unet_lora_adapter/adapter_config.json",
        "unet_lora_adapter/adapter_model.safetensors",
        "vae_encoder_lora_adapter/adapter_config.json",
        "vae_encoder_lora_adapter/adapter_model.safetensors",
    ]
    backbone = models.backbone(tiny)
    backbone.vae.encoder = PeftModel.from_pretrained(backbone.vae.encoder, tmp_path / ENCODER)
    backbone.denoiser = PeftModel.from_pretrained(backbone.denoiser, tmp_path / DENOISER)
    plain = Generator(backbone, 321).requires_grad_(False)
    assert torch.equal(restored(plain), restored(generator))


def test_equal_weights_give_equal_bytes(tiny: Path, tmp_path: Path) -> None:
    for name in "ab":
        saved(tiny, tmp_path / name)
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            other = tmp_path / "b" / path.relative_to(tmp_path / "a")
            assert path.read_bytes() == other.read_bytes(), path.name


def test_the_card_holds_what_it_was_given_and_no_path_of_this_machine(
    tiny: Path, tmp_path: Path
) -> None:
    saved(tiny, tmp_path)
    card = run_card.read_card(tmp_path)
    read = asdict(card)
    assert {name: read[name] for name in fields(tiny)} == fields(tiny)
    assert set(card.adapters) == {ENCODER, DENOISER}
    assert str(tiny) not in (tmp_path / "omgsr.json").read_text()


def test_another_foundation_is_refused(tiny: Path, tmp_path: Path) -> None:
    other = models.write_foundation(tmp_path / "other", seed=1)
    saved(tiny, tmp_path / "run")
    with pytest.raises(RunError, match=r"run: trained on foundation \w{12}, but .*other holds"):
        run_card.load(tmp_path / "run", other)


@pytest.mark.parametrize("adapter", [ENCODER, DENOISER])
def test_a_changed_adapter_is_refused(tiny: Path, tmp_path: Path, adapter: str) -> None:
    saved(tiny, tmp_path)
    path = tmp_path / adapter / "adapter_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=f"{adapter}: not the adapter that the card describes"):
        run_card.load(tmp_path, tiny)


@pytest.mark.parametrize("adapter", [ENCODER, DENOISER])
def test_a_missing_adapter_is_named(tiny: Path, tmp_path: Path, adapter: str) -> None:
    saved(tiny, tmp_path)
    (tmp_path / adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(RunError, match=f"{adapter}/adapter_model.safetensors: missing"):
        run_card.load(tmp_path, tiny)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.pop("t"), "omgsr.json: t: missing"),
        (lambda card: card.update(strength=1), "unknown key.*strength"),
        (lambda card: card.update(t="154"), "t: got '154', allowed: a whole number"),
        (lambda card: card.update(latent="mean"), "latent: .*'mean'.*mode"),
        (lambda card: card.update(losses=[]), "losses: got .*, allowed: a mapping"),
        (lambda card: card["adapters"].clear(), "not the adapter that the card describes"),
    ],
)
def test_a_card_that_does_not_fit_is_named(
    tiny: Path, tmp_path: Path, change: Change, message: str
) -> None:
    saved(tiny, tmp_path)
    card = json.loads((tmp_path / "omgsr.json").read_text())
    change(card)
    (tmp_path / "omgsr.json").write_text(json.dumps(card))
    with pytest.raises(RunError, match=message) as caught:
        run_card.load(tmp_path, tiny)
    what_next = "brings it back" if "adapter" in message else "train again"
    assert what_next in str(caught.value)


def test_a_timestep_outside_the_schedule_is_refused(tiny: Path, tmp_path: Path) -> None:
    saved(tiny, tmp_path)
    card = json.loads((tmp_path / "omgsr.json").read_text())
    (tmp_path / "omgsr.json").write_text(json.dumps(card | {"t": 1000}))
    with pytest.raises(ValueError, match=r"timestep 1000 is outside 1\.\.999"):
        run_card.load(tmp_path, tiny)


def test_a_card_that_is_not_json_is_named(tiny: Path, tmp_path: Path) -> None:
    saved(tiny, tmp_path)
    (tmp_path / "omgsr.json").write_text('{"t": 3')
    with pytest.raises(ValueError, match=r"omgsr\.json: not valid JSON, line 1"):
        run_card.load(tmp_path, tiny)


def test_a_folder_without_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="run `dvc repro`"):
        run_card.read_card(tmp_path)


def test_unknown_fields_cannot_be_saved(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key 'strength'"):
        saved(tiny, tmp_path, strength=1)
    assert not (tmp_path / "omgsr.json").exists()


@pytest.mark.parametrize("heads", ["map", "official", None])
def test_the_card_says_which_heads_judged(tiny: Path, tmp_path: Path, heads: str | None) -> None:
    saved(tiny, tmp_path, heads=heads)
    assert run_card.read_card(tmp_path).heads == heads
    assert json.loads((tmp_path / run_card.CARD).read_text())["heads"] == heads


def test_a_card_of_unknown_heads_is_refused(tiny: Path, tmp_path: Path) -> None:
    saved(tiny, tmp_path)
    card = json.loads((tmp_path / run_card.CARD).read_text()) | {"heads": "patch"}
    (tmp_path / run_card.CARD).write_text(json.dumps(card))
    with pytest.raises(RunError, match=r"heads: got 'patch'"):
        run_card.read_card(tmp_path)

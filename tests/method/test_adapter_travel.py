"""Adapters travel both ways between this code and the official one, and other PEFT versions."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from omgsr.core import files
from omgsr.method import adapter_files, run_card
from omgsr.method.adapter_files import AdapterError
from omgsr.method.run_card import DENOISER, ENCODER, RunError
from omgsr.models.foundation import write_card
from tests.helpers import models
from tests.method.test_run_card import fields

# What the official training names in its two configurations; fewer layers than ours.
OFFICIAL_TARGETS = [
    "conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out",
    "to_k", "to_q", "to_v", "to_out.0",
]  # fmt: skip
# What PEFT 0.4 knows of a LoRA configuration.
OLD_FIELDS = {
    "auto_mapping": None, "base_model_name_or_path": None, "bias": "none",
    "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True,
    "layers_pattern": None, "layers_to_transform": None, "lora_alpha": 3, "lora_dropout": 0.1,
    "modules_to_save": None, "peft_type": "LORA", "r": 3, "revision": None,
    "target_modules": OFFICIAL_TARGETS, "task_type": None,
}  # fmt: skip
T = 273


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def foundation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As SD: the latents have no shift, which the official code does not know."""
    folder = models.write_foundation(tmp_path_factory.mktemp("sd"), request.param)
    config = files.read_json(folder / "model" / "vae" / "config.json")
    files.write_json(folder / "model" / "vae" / "config.json", config | {"shift_factor": None})
    write_card(folder, Path("model"), models.section())
    return folder


def official(foundation: Path, folder: Path, t: int, x_lq: Tensor, latent: str) -> Tensor:
    """One step as the released inference does it, with diffusers and PEFT alone."""
    model = foundation / "model"
    vae = AutoencoderKL.from_pretrained(model / "vae")
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    scheduler = DDPMScheduler.from_pretrained(model / "scheduler")
    prompt = load_file(foundation / "prompt.safetensors")["prompt"]
    vae.encoder = PeftModel.from_pretrained(vae.encoder, folder / "vae_encoder_lora_adapter")
    unet = PeftModel.from_pretrained(unet, folder / "unet_lora_adapter")
    vae.encoder.merge_and_unload()
    unet.merge_and_unload()
    alpha = scheduler.alphas_cumprod[t]
    with torch.no_grad():
        posterior = vae.encode(x_lq).latent_dist
        rng = torch.Generator().manual_seed(0)
        z = posterior.sample(rng) if latent == "sample" else posterior.mode()
        z = z * vae.config.scaling_factor
        output = unet(z, t, encoder_hidden_states=prompt.expand(len(z), -1, -1)).sample
        if scheduler.config.prediction_type == "epsilon":
            clean = (z - (1 - alpha).sqrt() * output) / alpha.sqrt()
        else:
            clean = alpha.sqrt() * z - (1 - alpha).sqrt() * output
        return vae.decode(clean / vae.config.scaling_factor).sample


def restored(generator: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return generator(models.pair()[0], torch.Generator().manual_seed(0))[0]


def release(foundation: Path, folder: Path, seed: int = 0) -> Path:
    """Adapters as the official training saves them: PEFT's own classes, named adapters."""
    backbone = models.backbone(foundation)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module, name in ((backbone.vae.encoder, ENCODER), (backbone.denoiser, DENOISER)):
            config = LoraConfig(
                r=3, lora_alpha=3, target_modules=OFFICIAL_TARGETS, init_lora_weights="gaussian"
            )
            peft = PeftModel(model=module, peft_config=config, adapter_name=name)
            for key, parameter in peft.named_parameters():
                if "lora_" in key:
                    torch.nn.init.normal_(parameter, std=0.2)
            peft.save_pretrained(folder)
    return folder


@pytest.fixture
def released(foundation: Path, tmp_path: Path) -> Path:
    return release(foundation, tmp_path / "released")


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize("latent", ["mode", "sample"])
def test_ours_give_the_same_picture_in_the_official_code(
    foundation: Path, tmp_path: Path, latent: str
) -> None:
    generator = models.generator(foundation, T, latent, trained=0.2)
    run_card.save(generator, tmp_path, fields(foundation, t=T, latent=latent))
    theirs = official(foundation, tmp_path, T, models.pair()[0], latent)
    torch.testing.assert_close(restored(generator), theirs, rtol=1e-4, atol=1e-4)
    plain = restored(models.generator(foundation, T, latent))
    assert (plain - theirs).abs().max() > 0.1  # the adapters matter


def test_nothing_in_our_configuration_is_of_this_machine(foundation: Path, tmp_path: Path) -> None:
    generator = models.generator(foundation, T, trained=0.2)
    run_card.save(generator, tmp_path, fields(foundation, t=T))
    for name in (ENCODER, DENOISER):
        text = (tmp_path / name / "adapter_config.json").read_text()
        config = json.loads(text)
        assert config["peft_type"] == "LORA"
        assert config["base_model_name_or_path"] is None
        assert config.keys() == OLD_FIELDS.keys()  # else PEFT before 0.14 refuses it
        assert config["target_modules"] == sorted(config["target_modules"])
        for place in (foundation, tmp_path, Path.home(), Path.cwd()):
            assert str(place) not in text


def test_released_adapters_give_the_same_picture_here(foundation: Path, released: Path) -> None:
    generator, card = run_card.load(released, foundation, t=T)
    assert card is None
    assert generator.latent == "mode"
    assert not any(p.requires_grad for p in generator.parameters())
    theirs = official(foundation, released, T, models.pair()[0], "mode")
    torch.testing.assert_close(restored(generator), theirs, rtol=1e-4, atol=1e-4)
    other, _ = run_card.load(released, foundation, t=T + 200)
    assert (restored(other) - theirs).abs().max() > 1e-2


def test_a_timestep_is_needed_without_a_card(tiny: Path, tmp_path: Path) -> None:
    folder = release(tiny, tmp_path)
    with pytest.raises(RunError, match=r"no run card.*give --timestep .*SD2\.1-base.*273"):
        run_card.load(folder, tiny)


@pytest.mark.parametrize("t", [-1, 0, 1000])
def test_a_timestep_outside_the_schedule_is_refused(tiny: Path, tmp_path: Path, t: int) -> None:
    with pytest.raises(ValueError, match=f"timestep {t} is outside"):
        run_card.load(release(tiny, tmp_path), tiny, t=t)


def test_a_timestep_may_only_confirm_the_card(tiny: Path, tmp_path: Path) -> None:
    run_card.save(models.generator(tiny, T, trained=0.2), tmp_path, fields(tiny, t=T))
    generator, _ = run_card.load(tmp_path, tiny, t=T)
    assert generator.t == T
    with pytest.raises(
        RunError, match=r"its card says timestep 273, .*got index 200: leave it out"
    ):
        run_card.load(tmp_path, tiny, t=200)


def test_released_adapters_count_from_zero_on_a_foundation_that_counts_from_one(
    tiny: Path, tmp_path: Path
) -> None:
    """Index 273 is timestep 274 of the paper's counting; the picture is the same."""
    released = release(tiny, tmp_path / "released")
    expected = restored(run_card.load(released, tiny, t=T)[0])
    paper = models.write_foundation(tmp_path / "paper")
    write_card(paper, Path("model"), models.section(timestep_origin=1))
    generator, _ = run_card.load(released, paper, t=T)
    assert generator.t == T + 1
    assert torch.equal(restored(generator), expected)
    run_card.save(generator, tmp_path / "run", fields(paper, t=T + 1))
    run_card.load(tmp_path / "run", paper, t=T)
    with pytest.raises(RunError, match="its card says timestep 274, which is index 273; got index"):
        run_card.load(tmp_path / "run", paper, t=T + 1)
    with pytest.raises(RunError, match="foundation"):  # its t would be another step there
        run_card.load(tmp_path / "run", tiny)


def test_loading_draws_no_random_number(tiny: Path, tmp_path: Path) -> None:
    folder = release(tiny, tmp_path)
    before = torch.get_rng_state()
    run_card.load(folder, tiny, t=T)
    assert torch.equal(torch.get_rng_state(), before)


def test_ours_load_as_peft_loads_them(tiny: Path, tmp_path: Path) -> None:
    run_card.save(models.generator(tiny, T, trained=0.2), tmp_path, fields(tiny, t=T))
    for name in (ENCODER, DENOISER):
        backbones = [models.backbone(tiny) for _ in range(2)]
        modules = [b.vae.encoder if name == ENCODER else b.denoiser for b in backbones]
        ours = adapter_files.load(modules[0], tmp_path / name)
        theirs = PeftModel.from_pretrained(modules[1], tmp_path / name)
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        for key, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key


# --- other PEFT versions and wrappers ------------------------------------------------------------


def test_a_configuration_of_an_older_peft_loads(tiny: Path, tmp_path: Path) -> None:
    """Fields that it lacks are at their defaults, and those that are gone since do not matter."""
    folder = release(tiny, tmp_path)
    expected = restored(run_card.load(folder, tiny, t=T)[0])
    dropped = {"merge_weights": False, "enable_lora": None}  # of PEFT 0.2
    named = {"base_model_name_or_path": "stabilityai/stable-diffusion-2-1-base"}
    old = OLD_FIELDS | dropped | named
    for name in (ENCODER, DENOISER):
        (folder / name / "adapter_config.json").write_text(json.dumps(old))
    assert torch.equal(restored(run_card.load(folder, tiny, t=T)[0]), expected)


@pytest.mark.parametrize(
    "rename",
    [
        lambda key: key.removeprefix("base_model.model."),
        lambda key: f"module.{key}",
        lambda key: key.replace("base_model.model.", "base_model.model.encoder."),
        lambda key: re.sub(r"\.(lora_[AB])\.", r".\1.unet_lora_adapter.", key),
    ],
)
def test_names_from_other_wrappers_load(
    tiny: Path, tmp_path: Path, rename: Callable[[str], str]
) -> None:
    folder = release(tiny, tmp_path)
    expected = restored(run_card.load(folder, tiny, t=T)[0])
    for name in (ENCODER, DENOISER):
        path = folder / name / "adapter_model.safetensors"
        save_file({rename(key): value for key, value in load_file(path).items()}, path)
    assert torch.equal(restored(run_card.load(folder, tiny, t=T)[0]), expected)


def test_half_precision_becomes_fp32(tiny: Path, tmp_path: Path) -> None:
    folder = release(tiny, tmp_path)
    for name in (ENCODER, DENOISER):
        path = folder / name / "adapter_model.safetensors"
        save_file({key: value.bfloat16() for key, value in load_file(path).items()}, path)
    generator, _ = run_card.load(folder, tiny, t=T)
    assert {p.dtype for p in generator.parameters()} == {torch.float32}


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [ENCODER, DENOISER])
def test_a_pickle_is_not_read(tiny: Path, tmp_path: Path, adapter: str) -> None:
    folder = release(tiny, tmp_path)
    path = folder / adapter / "adapter_model.safetensors"
    torch.save(load_file(path), folder / adapter / "adapter_model.bin")
    path.unlink()
    with pytest.raises(AdapterError, match=f"{adapter}.*adapter_model.bin is a pickle"):
        run_card.load(folder, tiny, t=T)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(peft_type="LOHA"), "not the configuration of a LoRA adapter"),
        (lambda c: c.pop("r"), "r is None"),
        (lambda c: c.update(r="3"), "r is '3'"),
        (lambda c: c.update(r=4), "the rank of .* is 3 in adapter_model.safetensors and 4 in"),
        (lambda c: c.update(target_modules=["query"]), r"query"),
        (lambda c: c.update(target_modules=["conv_in"]), "weights that .* does not name: "),
        (lambda c: c["target_modules"].append("proj_in"), "lacks weights .*: .*proj_in"),
        (lambda c: c["target_modules"].append("conv_act"), "SiLU.* is not supported"),
        (lambda c: c.update(use_dora=True), "use_dora is True; supported is plain LoRA"),
        (lambda c: c.update(bias="all"), "bias is 'all'"),
        (lambda c: c.update(init_lora_weights="pissa"), "init_lora_weights is 'pissa'"),
        (lambda c: c.update(of_the_future={"x": 1}), "of_the_future is {'x': 1}"),
        (lambda c: c.update(megatron_core="antigravity"), "megatron_core is 'antigravity'"),
    ],
)
def test_another_configuration_is_named(
    tiny: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    folder = release(tiny, tmp_path)
    edit(folder / DENOISER / "adapter_config.json", change)
    with pytest.raises(AdapterError, match=message) as caught:
        run_card.load(folder, tiny, t=T)
    assert DENOISER in str(caught.value)


def test_an_adapter_of_another_width_is_named(tiny: Path, tmp_path: Path) -> None:
    """As SD1.5's against SD2.1's: the same layers, of which some take 768 instead of 1024."""
    folder = release(tiny, tmp_path)
    path = folder / DENOISER / "adapter_model.safetensors"
    tensors = load_file(path)
    key = next(key for key in sorted(tensors) if "attn2.to_k.lora_A" in key)
    save_file(tensors | {key: torch.zeros(3, 12)}, path)
    with pytest.raises(
        AdapterError,
        match=r"unet_lora_adapter: made for another backbone than this UNet2DConditionModel: "
        r"its .*attn2\.to_k\.lora_A has \(3, 12\), here it takes \(3, 8\); use the foundation",
    ):
        run_card.load(folder, tiny, t=T)


def test_an_adapter_of_other_layers_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = release(tiny, tmp_path)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (folder / ENCODER / name).write_bytes((folder / DENOISER / name).read_bytes())
    with pytest.raises(AdapterError, match=f"{ENCODER}.*another backbone than this Encoder"):
        run_card.load(folder, tiny, t=T)


def test_weights_of_two_modules_are_named(tiny: Path, tmp_path: Path) -> None:
    folder = release(tiny, tmp_path)
    path = folder / ENCODER / "adapter_model.safetensors"
    tensors = load_file(path)
    whole = {k.replace(".model.", ".model.encoder."): v for k, v in tensors.items()}
    decoder = {k.replace(".model.", ".model.decoder."): v.clone() for k, v in tensors.items()}
    save_file(whole | decoder, path)
    with pytest.raises(AdapterError, match=r"its layers are in .*decoder\., .*encoder\."):
        run_card.load(folder, tiny, t=T)


@pytest.mark.parametrize("bytes_", [b"", b"PK\x03\x04 a pickle of torch"])
def test_a_damaged_file_is_named(tiny: Path, tmp_path: Path, bytes_: bytes) -> None:
    folder = release(tiny, tmp_path)
    (folder / ENCODER / "adapter_model.safetensors").write_bytes(bytes_)
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors: not a safetensors file"):
        run_card.load(folder, tiny, t=T)


def test_other_weights_are_named(tiny: Path, tmp_path: Path) -> None:
    folder = release(tiny, tmp_path)
    path = folder / ENCODER / "adapter_model.safetensors"
    extra = {"base_model.model.conv_in.lora_magnitude_vector": torch.ones(8)}
    save_file(load_file(path) | extra, path)
    with pytest.raises(AdapterError, match=r"holds 'base_model.*lora_magnitude_vector'"):
        run_card.load(folder, tiny, t=T)


def test_a_folder_without_adapters_is_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no model: it needs vae_encoder_lora_adapter/"):
        run_card.load(tmp_path, tiny, t=T)
    run_card.save(models.generator(tiny, T), tmp_path / "model", fields(tiny, t=T))
    with pytest.raises(RunError, match=r"did you mean .*model\?"):
        run_card.load(tmp_path, tiny)


@pytest.mark.parametrize("gone", [ENCODER, DENOISER])
def test_half_a_release_is_named(tiny: Path, tmp_path: Path, gone: str) -> None:
    folder = release(tiny, tmp_path)
    (folder / gone).rename(tmp_path / "elsewhere")
    with pytest.raises(AdapterError, match=f"{gone}/adapter_config.json: missing"):
        run_card.load(folder, tiny, t=T)

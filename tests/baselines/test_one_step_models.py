"""OSEDiff and PiSA-SR from files of their published layout, against diffusers and PEFT alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from omgsr.baselines import conversion, one_step
from omgsr.baselines.conversion import ConversionError
from omgsr.cli import main
from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.method.adapter_files import AdapterError
from omgsr.method.generator import Generator
from omgsr.models import prompt
from tests.helpers import published
from tests.helpers.published import Published


class Made:
    """A foundation and both published files over its model."""

    def __init__(self, root: Path) -> None:
        self.foundation = published.write_foundation(root)
        self.model = root / "hub"
        self.osediff = published.osediff(self.model, root / "osediff.pkl")
        self.pisasr = published.pisasr(self.model, root / "pisa_sr.pkl", rank=3)
        self.prompt = prompt.embed(self.model, "")["prompt"]
        self.x = torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("published"))


def eps(made: Made, unet: Any, z: Tensor, t: int, text: Tensor | None = None) -> Tensor:
    """The denoiser's output under a prompt."""
    given = (made.prompt if text is None else text).expand(len(z), -1, -1)
    output: Tensor = unet(z, torch.tensor([t]), encoder_hidden_states=given).sample
    return output


def latent(vae: Any, x: Tensor) -> Tensor:
    z: Tensor = vae.encode(x).latent_dist.mode() * 0.18215
    return z


def image(vae: Any, z: Tensor) -> Tensor:
    x: Tensor = vae.decode(z / 0.18215).sample
    return x


def restored(generator: Generator, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return generator(x)[0]


@torch.inference_mode()
def osediff(made: Made, text: Tensor | None = None) -> Tensor:
    """Encode, one step of the scheduler from 999 to the clean latent, decode."""
    model = made.osediff
    z = latent(model.vae, made.x)
    scheduler = DDPMScheduler.from_pretrained(made.model / "scheduler")
    output = eps(made, model.unet, z, 999, text)
    clean = scheduler.step(output, 999, z).pred_original_sample
    return image(model.vae, clean)


@torch.inference_mode()
def pisasr(made: Made, l_pix: float, l_sem: float) -> Tensor:
    """z - [l_pix eps_pix + l_sem (eps_both - eps_pix)]."""
    unet, vae = made.pisasr.unet, made.pisasr.vae
    z = latent(vae, made.x)
    pix = [f"default_{block}_pix" for block in published.BLOCKS]
    unet.set_adapter(pix)
    eps_pix = eps(made, unet, z, 1)
    unet.set_adapter([*pix, *(f"default_{block}_sem" for block in published.BLOCKS)])
    eps_both = eps(made, unet, z, 1)
    assert (eps_both - eps_pix).abs().max() > 1e-3, "the semantic adapter changes nothing"
    return image(vae, z - (l_pix * eps_pix + l_sem * (eps_both - eps_pix)))


def close(found: Tensor, wanted: Tensor) -> None:
    # Merged and separate adapters differ by float rounding, which is about 1e-5 here.
    assert (found - wanted).abs().max() <= 5e-5 * wanted.abs().max()


def test_osediff_is_the_step_from_999(made: Made) -> None:
    generator = one_step.generator("osediff", made.osediff.file, made.foundation)
    assert generator.t == 1000  # this foundation counts from one
    found = restored(generator, made.x)
    close(found, osediff(made))
    plain = one_step.from_folder.load(made.foundation)
    assert (found - restored(Generator(plain, 1000), made.x)).abs().max() > 0.01


@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.4, 1.3), (0.0, 1.0)])
def test_pisasr_is_a_weighted_residual_at_1(made: Made, weights: tuple[float, float]) -> None:
    l_pix, l_sem = weights
    generator = one_step.generator(
        "pisasr", made.pisasr.file, made.foundation, lambda_pix=l_pix, lambda_sem=l_sem
    )
    assert generator.t == 2
    assert generator.backbone.alignment == 64
    close(restored(generator, made.x), pisasr(made, l_pix, l_sem))


def test_a_converted_folder_gives_what_the_pickle_gives(made: Made, tmp_path: Path) -> None:
    for kind, file in (("osediff", made.osediff.file), ("pisasr", made.pisasr.file)):
        card = conversion.convert(file, tmp_path / kind)
        assert (card.method, card.alpha) == (kind, 8)
        one, other = (one_step.generator(kind, p, made.foundation) for p in (file, tmp_path / kind))
        torch.testing.assert_close(restored(one, made.x), restored(other, made.x), rtol=0, atol=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["osediff", "pisasr"]


def test_the_folders_are_pefts(made: Made, tmp_path: Path) -> None:
    """PEFT itself reads them, and computes the same."""
    conversion.convert(made.osediff.file, tmp_path / "out")
    unet = UNet2DConditionModel.from_pretrained(made.model / "unet")
    base = load_file(tmp_path / "out" / "base.safetensors")
    unet.load_state_dict(base, strict=False)
    model = PeftModel.from_pretrained(unet, tmp_path / "out" / "unet_lora_adapter").eval()
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        close(eps(made, model, z, 500), eps(made, made.osediff.unet, z, 500))


def test_another_prompt_can_be_given(made: Made) -> None:
    generator = one_step.generator("osediff", made.osediff.file, made.foundation, prompt="a cat")
    found = restored(generator, made.x)
    close(found, osediff(made, prompt.embed(made.model, "a cat")["prompt"]))
    assert (found - osediff(made)).abs().max() > 1e-4


def test_latents_may_be_samples(made: Made) -> None:
    generator = one_step.generator("osediff", made.osediff.file, made.foundation, latent="sample")
    with torch.inference_mode():
        one, two = (generator(made.x, torch.Generator().manual_seed(s))[0] for s in (0, 1))
    assert not torch.equal(one, two)


def changed(made: Made, tmp_path: Path, which: str, **changes: Any) -> Path:
    """The published file with other values; None takes a key out."""
    source: Published = getattr(made, which)
    held = {k: v for k, v in (source.held | changes).items() if v is not None}
    torch.save(held, tmp_path / "changed.pkl")
    return tmp_path / "changed.pkl"


def without(state: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if part not in key}


def test_files_of_other_layouts_are_refused(made: Made, tmp_path: Path) -> None:
    held = made.osediff.held
    unet = held["state_dict_unet"]
    cases = [
        ({"rank_vae": None, "rank_unet": None}, "neither OSEDiff's nor PiSA-SR's file"),
        ({"state_dict_vae": None}, "looks like osediff, but lacks state_dict_vae"),
        ({"state_dict_sft": {}}, "also holds state_dict_sft"),
        ({"rank_unet": 8}, "not of rank 8"),
        ({"state_dict_unet": without(unet, "conv_in")}, "lacks conv_in.lora_A"),
        ({"state_dict_unet": without(unet, "base_layer")}, "lacks the UNet's conv_in"),
        ({"state_dict_unet": without(unet, "lora_B.default_others")}, "lacks mid_block"),
        ({"state_dict_unet": {**unet, "time.weight": torch.ones(1)}}, "holds time.weight"),
    ]
    for changes, message in cases:
        file = changed(made, tmp_path, "osediff", **changes)
        with pytest.raises(ConversionError, match=message) as error:
            conversion.convert(file, tmp_path / "out")
        assert "changed.pkl" in str(error.value)
        assert not (tmp_path / "out").exists()
    torch.save([1, 2], tmp_path / "list.pkl")
    with pytest.raises(ConversionError, match="it holds list"):
        conversion.convert(tmp_path / "list.pkl", tmp_path / "out")


def test_a_folder_with_something_in_it_is_kept(made: Made, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    conversion.convert(made.pisasr.file, tmp_path / "out")  # an empty one may be there
    before = files.read_json(tmp_path / "out" / "method.json")
    with pytest.raises(ConversionError, match="exists already"):
        conversion.convert(made.osediff.file, tmp_path / "out")
    assert files.read_json(tmp_path / "out" / "method.json") == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_does_not_fit_together_is_named(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="holds osediff, not pisasr"):
        one_step.generator("pisasr", made.osediff.file, made.foundation)
    with pytest.raises(ConversionError, match=r"no method\.json; `omgsr convert"):
        one_step.generator("osediff", tmp_path, made.foundation)
    folder = tmp_path / "out"
    conversion.convert(made.osediff.file, folder)
    base = load_file(folder / "base.safetensors")
    save_file({k: v + 1 for k, v in base.items()}, folder / "base.safetensors")
    with pytest.raises(ConversionError, match="not the file of its card"):
        one_step.generator("osediff", folder, made.foundation)
    save_file({k: v[:2].clone() for k, v in base.items()}, folder / "base.safetensors")
    card = files.read_json(folder / "method.json")
    card["weights"]["base.safetensors"] = sha256(folder / "base.safetensors")
    files.write_json(folder / "method.json", card)
    with pytest.raises(ConversionError, match=r"mismatch for conv_in.*; use a foundation of SD2"):
        one_step.generator("osediff", folder, made.foundation)
    files.write_json(folder / "method.json", {"method": "osediff"})
    with pytest.raises(ConversionError, match=r"(?s)t: missing.*convert the published file again"):
        one_step.generator("osediff", folder, made.foundation)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("sd15", AdapterError, "made for another backbone"),
        ("sd21-768", ConversionError, "predicts v_prediction"),
    ],
)
def test_another_foundation_is_refused(
    made: Made, tmp_path: Path, kind: str, error: type[Exception], message: str
) -> None:
    other = published.write_foundation(tmp_path, kind)
    with pytest.raises(error, match=message):
        one_step.generator("pisasr", made.pisasr.file, other)


def test_a_prompt_needs_a_text_encoder(made: Made, tmp_path: Path) -> None:
    foundation = tmp_path / "foundation"
    shutil.copytree(made.foundation, foundation)
    card = files.read_json(foundation / "foundation.json")
    shutil.copytree(made.model, tmp_path / "model", ignore=shutil.ignore_patterns("text_encoder"))
    files.write_json(foundation / "foundation.json", card | {"path": str(tmp_path / "model")})
    with pytest.raises(ConversionError, match="no text_encoder/"):
        one_step.generator("osediff", made.osediff.file, foundation, prompt="a cat")


def test_the_command_converts(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pisasr"
    assert main(["convert", str(made.pisasr.file), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert "pisasr" in said
    assert str(out) in said
    assert files.read_json(out / "method.json")["ranks"] == dict.fromkeys(
        ("unet_pix_lora_adapter", "unet_sem_lora_adapter"), 3
    )
    assert main(["convert", str(made.pisasr.file), "-o", str(out)]) == 1
    assert capsys.readouterr().err.startswith(f"omgsr convert: {out}: exists already")

"""The prompts of the flow-matching families: by their own encoders, or ready."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from omgsr.core import files
from omgsr.models import foundation, prompt
from omgsr.models.backbones.from_folder import FAMILIES
from omgsr.models.settings import Features
from stages import foundation as stage
from tests.helpers import flow_hub, hub, models, plain_prompts


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("flow_prompts")
    return {kind: flow_hub.write_hub_folder(root / kind, kind) for kind in flow_hub.KINDS}


@pytest.mark.parametrize("text", ["", "the cat"])
@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_a_prompt_is_what_the_pipeline_of_diffusers_embeds(
    folders: dict[str, Path], kind: str, text: str
) -> None:
    got = prompt.embed(folders[kind], text, FAMILIES[kind].embedding)
    expected = plain_prompts.embed(kind, folders[kind], text)
    assert set(got) == set(expected)
    for name, tensor in got.items():
        assert tensor.shape == expected[name].shape
        torch.testing.assert_close(tensor.float(), expected[name].float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_another_text_is_another_prompt(folders: dict[str, Path], kind: str) -> None:
    embedding = FAMILIES[kind].embedding
    first, second = (prompt.embed(folders[kind], text, embedding) for text in ("the cat", ""))
    assert all(
        a.shape != second[n].shape or not torch.equal(a, second[n]) for n, a in first.items()
    )


@pytest.fixture
def ready(folders: dict[str, Path], tmp_path: Path) -> Path:
    """FLUX's folder without encoders, as the released workflow uses it."""
    own = Path(shutil.copytree(folders["flux1-dev"], tmp_path / "own"))
    for part in ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"):
        shutil.rmtree(own / part)
    return own


def plan(folder: Path, tmp_path: Path, **changes: Any) -> Any:
    network = Features(name="convnext_atto", path=str(hub.write_convnext(tmp_path / "atto")))
    return models.section(
        backbone="flux1-dev", path=str(folder), features=network, resolution=1024, **changes
    )


TENSORS = {"pooled": torch.ones(1, 32), "sequence": torch.zeros(1, 512, 32)}


def test_a_ready_prompt_in_the_model_folder_stands_for_the_encoders(
    ready: Path, tmp_path: Path
) -> None:
    save_file(TENSORS, ready / prompt.EMBEDDING)
    foundation.link(tmp_path / "out", ready, plan(ready, tmp_path))
    kept = tmp_path / "out" / prompt.EMBEDDING
    assert kept.read_bytes() == (ready / prompt.EMBEDDING).read_bytes()
    assert list(files.read_json(tmp_path / "out" / prompt.ORIGIN)) == ["ready"]


def test_a_ready_prompt_elsewhere_is_a_setting(
    folders: dict[str, Path], ready: Path, tmp_path: Path
) -> None:
    """It goes before the encoders, which are not read."""
    file = tmp_path / "given.safetensors"
    save_file(TENSORS, file)
    for i, folder in enumerate((ready, folders["flux1-dev"])):
        out = tmp_path / f"out{i}"
        foundation.link(out, folder, plan(folder, tmp_path / f"{i}", prompt_file=str(file)))
        assert torch.equal(load_file(out / prompt.EMBEDDING)["pooled"], TENSORS["pooled"])


@pytest.mark.parametrize(
    ("tensors", "said"),
    [({"prompt": torch.zeros(1, 77, 8)}, "holds prompt; the prompt of this backbone is pooled"),
     ({**TENSORS, "pooled": torch.ones(32)}, r"pooled is \(32,\), needed is \(1, \.\.\.\)")],
)  # fmt: skip
def test_a_ready_prompt_of_another_family_is_refused(
    ready: Path, tmp_path: Path, tensors: dict[str, torch.Tensor], said: str
) -> None:
    save_file(tensors, ready / prompt.EMBEDDING)
    with pytest.raises(ValueError, match=said):
        foundation.link(tmp_path / "out", ready, plan(ready, tmp_path))


def test_without_encoders_and_prompt_both_ways_are_named(ready: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"text_encoder/config\.json is missing") as refused:
        foundation.link(tmp_path / "out", ready, plan(ready, tmp_path))
    assert "prompt.safetensors" in str(refused.value)


@pytest.mark.parametrize("encoder", ["text_encoder", "text_encoder_2"])
def test_every_encoder_is_in_the_origin_of_a_prompt(
    folders: dict[str, Path], tmp_path: Path, encoder: str
) -> None:
    own, kind = Path(shutil.copytree(folders["flux1-dev"], tmp_path / "own")), FAMILIES["flux1-dev"]
    prompt.write(own, "", tmp_path / "a", embedding=kind.embedding)
    path = own / encoder / "model.safetensors"
    save_file({k: v + 0.01 for k, v in load_file(path).items()}, path, {"format": "pt"})
    prompt.write(own, "", tmp_path / "b", embedding=kind.embedding)
    first, second = (files.read_json(tmp_path / n / prompt.ORIGIN) for n in ("a", "b"))
    assert first["text_encoder"] != second["text_encoder"]


def test_the_setting_is_a_path_of_the_workspace(tmp_path: Path) -> None:
    """DVC may run the stage in a copy of it."""
    section = models.section(prompt_file="weights/prompt.safetensors")
    assert stage.located(section, tmp_path).prompt_file == str(tmp_path / section.prompt_file)
    assert stage.located(models.section(), tmp_path) == models.section()

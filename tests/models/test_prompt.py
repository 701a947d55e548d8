"""The prompt's embedding: by CLIP, once, and never while training."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from omgsr.core import files
from omgsr.models import foundation, prompt
from omgsr.models.settings import Features
from tests.helpers import hub, models


@pytest.fixture(scope="module")
def sd15(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub.write_hub_folder(tmp_path_factory.mktemp("hub") / "sd15", "sd15")


@pytest.fixture
def own(sd15: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(sd15, tmp_path / "own"))


def read(folder: Path) -> torch.Tensor:
    return load_file(folder / prompt.EMBEDDING)["prompt"]


@pytest.mark.parametrize(("kind", "pad"), [("sd15", 517), ("sd21-base", 0)])
def test_an_embedding_is_the_text_encoders(tmp_path: Path, kind: str, pad: int) -> None:
    """<|startoftext|> the cat <|endoftext|>, then padding: SD2.1's is `!`, number 0."""
    model = hub.write_hub_folder(tmp_path / kind, kind)
    got = prompt.embed(model, "The cat")["prompt"]
    encoder = transformers.CLIPTextModel.from_pretrained(
        model / "text_encoder", dtype=torch.float32
    )
    tokens = torch.tensor([[516, 513, 515, 517, *[pad] * 73]])
    with torch.no_grad():
        expected = encoder(tokens).last_hidden_state
    assert got.shape == (1, 77, hub.WIDTH[kind])
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected)


def test_an_embedding_uses_every_weight_on_disk(own: Path) -> None:
    """Names of the hub, with the prefix text_model: none of them is left at random."""
    path = own / "text_encoder" / "model.safetensors"
    before, state = prompt.embed(own, "")["prompt"], load_file(path)
    assert torch.equal(before, prompt.embed(own, "")["prompt"])
    assert all(name.startswith("text_model.") for name in state)
    state["text_model.final_layer_norm.bias"] += 1
    save_file(state, path, {"format": "pt"})
    torch.testing.assert_close(prompt.embed(own, "")["prompt"], before + 1)


def test_weights_that_do_not_fit_their_configuration_are_refused(own: Path) -> None:
    path = own / "text_encoder" / "model.safetensors"
    state = load_file(path)
    del state["text_model.final_layer_norm.bias"]
    save_file(state, path, {"format": "pt"})
    with pytest.raises(
        ValueError, match=r"text_encoder: its weights are not those.*final_layer_no"
    ):
        prompt.embed(own, "")


def test_it_is_kept_with_what_it_was_made_from(sd15: Path, tmp_path: Path) -> None:
    prompt.write(sd15, "a cat", tmp_path)
    about = files.read_json(tmp_path / prompt.ORIGIN)
    assert about["prompt"] == "a cat"
    assert len(about["text_encoder"]) == 64
    torch.testing.assert_close(read(tmp_path), prompt.embed(sd15, "a cat")["prompt"])


def test_it_is_computed_once(sd15: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt.write(sd15, "a cat", tmp_path / "a", tmp_path / "cache")
    monkeypatch.setattr(prompt, "embed", refuse)
    prompt.write(sd15, "a cat", tmp_path / "b", tmp_path / "cache")
    assert (tmp_path / "a" / prompt.EMBEDDING).read_bytes() == (
        tmp_path / "b" / prompt.EMBEDDING
    ).read_bytes()
    assert files.read_json(tmp_path / "b" / prompt.ORIGIN)["prompt"] == "a cat"


def refuse(*_: object) -> torch.Tensor:
    raise AssertionError("the text encoder is loaded a second time")


def test_another_text_or_encoder_is_computed_again(own: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def written(text: str) -> torch.Tensor:
        prompt.write(own, text, tmp_path / "out", cache)
        return read(tmp_path / "out")

    first, other_text = written("a cat"), written("the cat")
    assert not torch.equal(first, other_text)
    path = own / "text_encoder" / "model.safetensors"
    state = load_file(path)
    state["text_model.final_layer_norm.bias"] += 1
    save_file(state, path, {"format": "pt"})
    other_encoder = written("a cat")
    torch.testing.assert_close(other_encoder, first + 1)
    special = own / "tokenizer" / "special_tokens_map.json"
    files.write_json(special, files.read_json(special) | {"pad_token": "!"})
    assert not torch.equal(other_encoder, written("a cat"))
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("text_encoder/config.json", r"text_encoder/config\.json is missing"),
        ("text_encoder/model.safetensors", r"text_encoder/model\.safetensors is missing"),
        ("tokenizer/merges.txt", r"tokenizer: vocab\.json and merges\.txt are missing"),
    ],
)
def test_a_missing_part_is_named(own: Path, tmp_path: Path, gone: str, said: str) -> None:
    (own / gone).unlink()
    with pytest.raises(FileNotFoundError, match=said):
        prompt.write(own, "", tmp_path / "out")


def test_training_and_inference_load_no_text_encoder(own: Path, tmp_path: Path) -> None:
    """A process of its own: the folder has none any more, and its classes are never imported."""
    network = hub.write_convnext(tmp_path / "atto")
    section = models.section(
        backbone="sd15", source="folder", path=str(own),
        features=Features(name="convnext_atto", path=str(network)),
    )  # fmt: skip
    foundation.link(tmp_path / "foundation", own, section)
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(own / part)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import torch\n"
        "from omgsr.models.backbones import from_folder\n"
        "from omgsr.method.generator import Generator\n"
        "generator = Generator(from_folder.load(Path(sys.argv[1])), 273)\n"
        "generator.add_adapters(2, 2, seed=0)\n"
        "x, z = generator(torch.zeros(1, 3, 64, 64))\n"
        "x.mean().backward()\n"
        "print([m for m in sys.modules if m.startswith('transformers.models.clip.')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "foundation")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"

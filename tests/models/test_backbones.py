"""Miniatures of SD1.5, SD2.1-base and SD2.1-768 in the hub's layout, behind the one interface."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.chaos.damage import flip
from omgsr.core import files
from omgsr.method.generator import Generator
from omgsr.models import foundation, prompt
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone
from omgsr.models.settings import Features
from tests.helpers import hub, models

PREDICTIONS = {"sd15": "epsilon", "sd21-base": "epsilon", "sd21-768": "v_prediction"}


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A foundation folder of each kind, counted from one, as `source: folder` makes it."""
    root = tmp_path_factory.mktemp("linked")
    network = Features(name="convnext_atto", path=str(hub.write_convnext(root / "atto")))
    for kind in hub.KINDS:
        model = hub.write_hub_folder(root / "hub" / kind, kind)
        section = models.section(
            backbone=kind, source="folder", path=str(model), features=network, timestep_origin=1
        )
        foundation.link(root / kind, model, section, root / "prompts")
    return {kind: root / kind for kind in hub.KINDS}


@pytest.mark.parametrize("kind", hub.KINDS)
def test_a_hub_folder_is_a_backbone(linked: dict[str, Path], kind: str) -> None:
    """Schedule, prediction type and latent scale as in the real checkpoint."""
    backbone = from_folder.load(linked[kind])
    assert backbone.schedule.prediction == PREDICTIONS[kind]
    assert backbone.schedule.coefficients(274)[0] ** 2 == pytest.approx(0.63574, abs=5e-6)
    assert (float(backbone.scale), float(backbone.shift)) == (pytest.approx(0.18215), 0)
    assert (backbone.reduction, backbone.multiple, backbone.alignment) == (8, 8, 64)
    assert backbone.prompt["prompt"].shape == (1, 77, hub.WIDTH[kind])


@pytest.mark.parametrize("kind", hub.KINDS)
def test_encode_predict_and_decode(linked: dict[str, Path], kind: str) -> None:
    backbone = from_folder.load(linked[kind])
    x = torch.rand(2, 3, 64, 128) * 2 - 1
    with torch.no_grad():
        z = backbone.encode(x)
        output = backbone.predict(z, 274)
        assert z.shape == output.shape == (2, 4, 8, 16)
        assert backbone.decode(z).shape == x.shape
        changed = backbone.predict(z, 900)
    assert bool(torch.isfinite(output).all())
    assert not torch.equal(output, changed)


@pytest.mark.parametrize("kind", hub.KINDS)
def test_the_weights_on_disk_are_the_ones_in_use(linked: dict[str, Path], kind: str) -> None:
    """Under the names of today too, where the hub's VAE has those of 2022."""
    card, backbone = (
        files.read_json(linked[kind] / "foundation.json"),
        from_folder.load(linked[kind]),
    )
    stored = load_file(Path(card["path"]) / "vae" / "diffusion_pytorch_model.safetensors")
    state = backbone.vae.state_dict()
    attention = "encoder.mid_block.attentions.0"
    for former, name in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"),
                         ("proj_attn", "to_out.0")):  # fmt: skip
        assert f"{attention}.{name}.weight" not in stored
        expected = stored[f"{attention}.{former}.weight"]
        assert torch.equal(state[f"{attention}.{name}.weight"], expected)
    unet = load_file(Path(card["path"]) / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(v, unet[k]) for k, v in backbone.denoiser.state_dict().items())


@pytest.mark.parametrize("kind", hub.KINDS)
def test_adapters_fit_and_learn(linked: dict[str, Path], kind: str) -> None:
    """Every adapter, the cross attention's to 768 or 1024 wide prompts too, gets a gradient."""
    generator = Generator(from_folder.load(linked[kind]), 274)
    generator.add_adapters(2, 2, seed=0)
    names = [n for n, _ in generator.backbone.denoiser.named_parameters() if "lora_A" in n]
    assert any("conv1" in n for n in names)
    assert any("attn2.to_k" in n for n in names)
    x_sr, _ = generator(torch.rand(1, 3, 128, 128) * 2 - 1)
    x_sr.square().mean().backward()
    both = [generator.backbone.vae.encoder, generator.backbone.denoiser]
    fresh = {n: p.grad for m in both for n, p in m.named_parameters() if "lora_B" in n}
    assert [n for n, g in fresh.items() if g is None or not g.isfinite().all() or not g.any()] == []


@pytest.mark.parametrize(("origin", "t", "asked"), [(0, 273, 273), (1, 274, 273), (1, 1, 0)])
def test_the_denoiser_is_asked_at_the_index(tiny: Path, origin: int, t: int, asked: int) -> None:
    backbone = with_origin(from_folder.load(tiny), origin)
    seen: list[Any] = []
    backbone.denoiser.register_forward_pre_hook(lambda _, inputs: seen.append(int(inputs[1])))
    with torch.no_grad():
        Generator(backbone, t)(torch.zeros(1, 3, 32, 32))
    assert seen == [asked]


def with_origin(backbone: Backbone, origin: int) -> Backbone:
    old = backbone.schedule
    backbone.schedule = type(old)(
        signal=old.signal, noise=old.noise, prediction=old.prediction, origin=origin
    )
    return backbone


def test_both_origins_restore_the_same_image(tiny: Path) -> None:
    x = models.pair()[0]
    with torch.no_grad():
        zero, one = (
            Generator(with_origin(from_folder.load(tiny), k), 273 + k)(x)[0] for k in (0, 1)
        )
    assert torch.equal(zero, one)


class Perfect(nn.Module):
    """A denoiser that knows the clean latent and gives the true eps or v of what it is shown."""

    def __init__(self, denoiser: Any, schedule: Any, clean: Tensor) -> None:
        super().__init__()
        self.config, self.schedule, self.clean = denoiser.config, schedule, clean

    def forward(self, z_t: Tensor, index: int, encoder_hidden_states: Tensor) -> Any:
        signal, noise = float(self.schedule.signal[index]), float(self.schedule.noise[index])
        eps = (z_t - signal * self.clean) / noise
        true = {"epsilon": eps, "v_prediction": signal * eps - noise * self.clean}
        return type("Output", (), {"sample": true[self.schedule.prediction]})


@pytest.mark.parametrize("kind", hub.KINDS)
@pytest.mark.parametrize("t", [1, 274, 900])
def test_a_perfect_denoiser_gives_the_clean_latent_back(
    linked: dict[str, Path], kind: str, t: int
) -> None:
    """Eq. 7 through the generator: x_P is the decoded clean latent, whatever z_L is."""
    backbone = from_folder.load(linked[kind])
    clean = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    backbone.denoiser = Perfect(backbone.denoiser, backbone.schedule, clean)
    with torch.no_grad():
        x_sr, z_lq = Generator(backbone, t)(torch.rand(1, 3, 64, 64) * 2 - 1)
        torch.testing.assert_close(x_sr, backbone.decode(clean), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(z_lq, clean, atol=0.1)


class Constant(nn.Module):
    """A denoiser whose output is one number."""

    def __init__(self, denoiser: Any, value: float) -> None:
        super().__init__()
        self.config, self.value = denoiser.config, value

    def forward(self, z_t: Tensor, index: int, encoder_hidden_states: Tensor) -> Any:
        return type("Output", (), {"sample": torch.full_like(z_t, self.value)})


@pytest.mark.parametrize(
    ("kind", "z_t", "output", "clean"),
    [
        # alpha_bar_274 = 0.63574: signal 0.79733, noise 0.60354.
        # z_H = 0.5 and eps = -1 give z_t = 0.5 * 0.79733 - 0.60354 = -0.20488, and
        # v = -0.79733 - 0.5 * 0.60354 = -1.09910.
        ("sd15", -0.20488, -1.0, 0.5),
        ("sd21-base", -0.20488, -1.0, 0.5),
        ("sd21-768", -0.20488, -1.09910, 0.5),
        # The same output is another clean latent: (0.3 - 0.60354 * 0.2) / 0.79733 = 0.22486,
        # and 0.79733 * 0.3 - 0.60354 * 0.2 = 0.11849.
        ("sd21-base", 0.3, 0.2, 0.22486),
        ("sd21-768", 0.3, 0.2, 0.11849),
    ],
)
def test_one_step_against_hand_worked_values(
    linked: dict[str, Path], kind: str, z_t: float, output: float, clean: float
) -> None:
    backbone = from_folder.load(linked[kind])
    backbone.denoiser = Constant(backbone.denoiser, output)
    decoded: list[Tensor] = []
    backbone.encode = lambda x, *_: torch.full((1, 4, 8, 8), z_t)  # type: ignore[method-assign]
    backbone.decode = lambda z: decoded.append(z) or z  # type: ignore[func-returns-value, method-assign]
    with torch.no_grad():
        Generator(backbone, 274)(torch.zeros(1, 3, 64, 64))
    torch.testing.assert_close(decoded[0], torch.full_like(decoded[0], clean), rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", hub.KINDS)
def test_the_target_of_lrr_does_not_depend_on_the_prediction(
    linked: dict[str, Path], kind: str
) -> None:
    """Eq. 6: z_t = 0.79733 z_H + 0.60354 eps for epsilon and v alike; of 0.5 and -1, -0.20488."""
    generator = Generator(from_folder.load(linked[kind]), 274)
    x_hq = torch.rand(1, 3, 64, 64) * 2 - 1
    z_hq, z_t = generator.targets(x_hq, torch.Generator().manual_seed(5))
    eps = torch.randn(z_hq.shape, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(z_t, 0.79733 * z_hq + 0.60354 * eps, rtol=0, atol=5e-5)
    half, minus = torch.full((1, 4, 8, 8), 0.5), torch.full((1, 4, 8, 8), -1.0)
    target = generator.backbone.schedule.add_noise(half, minus, 274)
    torch.testing.assert_close(target, torch.full_like(half, -0.20488), rtol=0, atol=5e-5)


def test_the_prompt_reaches_the_denoiser(linked: dict[str, Path]) -> None:
    backbone = from_folder.load(linked["sd21-base"])
    z = torch.zeros(1, 4, 8, 8)
    with torch.no_grad():
        first = backbone.predict(z, 274)
        backbone.prompt = {"prompt": backbone.prompt["prompt"].flip(1) * 3}
        assert not torch.equal(first, backbone.predict(z, 274))


def copied(linked: dict[str, Path], tmp_path: Path) -> tuple[Path, Path]:
    """(foundation, model) of SD1.5 that a test may change."""
    model = hub.write_hub_folder(tmp_path / "model", "sd15")
    out = tmp_path / "foundation"
    out.mkdir()
    card = files.read_json(linked["sd15"] / "foundation.json") | {"path": str(model)}
    files.write_json(out / "foundation.json", card)
    (out / prompt.EMBEDDING).write_bytes((linked["sd15"] / prompt.EMBEDDING).read_bytes())
    return out, model


@pytest.mark.parametrize("network", ["vae", "unet"])
def test_a_weight_that_is_missing_is_never_left_random(
    linked: dict[str, Path], tmp_path: Path, network: str
) -> None:
    out, model = copied(linked, tmp_path)
    path = model / network / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["conv_in.weight" if network == "unet" else "encoder.conv_in.weight"]
    save_file(state, path, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"{network}: its weights are not those.*conv_in\.weight"):
        from_folder.load(out)


def test_a_pickle_is_never_loaded(linked: dict[str, Path], tmp_path: Path) -> None:
    """diffusers would fall back on it."""
    out, model = copied(linked, tmp_path)
    path = model / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model\.bin is there, which is"):
        from_folder.load(out)


@pytest.mark.parametrize("name", ["model/unet", "features"])
def test_a_flipped_bit_inside_the_foundation_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = models.write_foundation(tmp_path / "foundation")
    path = next((folder / name).glob("*.safetensors"))
    flip(path, random.Random(0), path.stat().st_size // 2)
    with pytest.raises(ValueError, match=f"delete {folder}/ and run `dvc repro`"):
        from_folder.load(folder)

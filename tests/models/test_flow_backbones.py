"""Miniatures of the flow-matching families in the hub's layout, behind the one interface."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from omgsr.core import files
from omgsr.method import run_card
from omgsr.method.generator import Generator
from omgsr.models import catalogue, foundation, prompt
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone
from omgsr.models.flow_table import FlowTable
from omgsr.models.settings import Features, Foundation
from tests.helpers import flow_hub, hub, models, plain_diffusers
from tests.helpers.closeness import apart

T = 244


def section(kind: str, folder: Path, network: Features, **changes: Any) -> Foundation:
    return models.section(
        backbone=kind, source="folder", path=str(folder), features=network,
        resolution=flow_hub.RESOLUTION[kind], **changes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def convnext(tmp_path_factory: pytest.TempPathFactory) -> Features:
    folder = hub.write_convnext(tmp_path_factory.mktemp("timm") / "atto")
    return Features(name="convnext_atto", path=str(folder))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder of each kind."""
    root = tmp_path_factory.mktemp("flow_hub")
    return {kind: flow_hub.write_hub_folder(root / kind, kind) for kind in flow_hub.KINDS}


@pytest.fixture(scope="module")
def linked(
    tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path], convnext: Features
) -> dict[str, Path]:
    """A foundation folder of each kind, as `source: folder` makes it."""
    root = tmp_path_factory.mktemp("flow_linked")
    for kind, model in folders.items():
        foundation.link(root / kind, model, section(kind, model, convnext), root / "prompts")
    return {kind: root / kind for kind in folders}


def picture(*shape: int) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=rng) * 2 - 1


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_a_hub_folder_is_a_backbone(linked: dict[str, Path], kind: str) -> None:
    backbone = from_folder.load(linked[kind])
    assert (backbone.schedule.prediction, backbone.schedule.origin) == ("flow", 0)
    assert (backbone.reduction, backbone.multiple, backbone.alignment) == (8, 16, 16)
    assert {n: tuple(x.shape) for n, x in backbone.prompt.items()} == flow_hub.PROMPTS[kind]


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_one_forward_equals_plain_diffusers(
    linked: dict[str, Path], folders: dict[str, Path], kind: str
) -> None:
    """Encoder, transformer and decoder, called as the pipelines of diffusers call them."""
    backbone, x = from_folder.load(linked[kind]), picture(2, 3, 64, 96)
    plain = plain_diffusers.load(kind, folders[kind])
    with torch.no_grad():
        z = backbone.encode(x)
        sigma = backbone.schedule.coefficients(T)[1]
        v = plain.velocity(z, sigma, backbone.prompt)
        one_step, z_lq = Generator(backbone, T)(x)
        for got, expected in (
            (z, plain.encode(x)), (backbone.predict(z, T), v),
            (backbone.decode(z), plain.decode(z)), (one_step, plain.decode(z - sigma * v)),
        ):  # fmt: skip
            assert apart([got], [expected]) < 1e-5
    assert torch.equal(z_lq, z)
    assert float(v.std()) > 1e-2, "the network has something to say"


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_time_and_prompt_reach_the_denoiser(linked: dict[str, Path], kind: str) -> None:
    backbone, z = from_folder.load(linked[kind]), torch.randn(1, 16, 8, 8)
    with torch.no_grad():
        first = backbone.predict(z, T)
        assert not torch.equal(first, backbone.predict(z, 900))
        for name, tensor in backbone.prompt.items():
            backbone.prompt = backbone.prompt | {name: torch.randn(tensor.shape)}
            changed = backbone.predict(z, T)
            assert not torch.equal(first, changed), name
            first = changed


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_every_image_of_a_batch_is_its_own(linked: dict[str, Path], kind: str) -> None:
    generator, x = Generator(from_folder.load(linked[kind]), T), picture(2, 3, 48, 32)
    with torch.no_grad():
        together, alone = generator(x)[0], torch.cat([generator(one)[0] for one in x.split(1)])
    assert apart([together], [alone]) < 1e-5  # a product of other shapes adds in another order


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_a_trained_run_reloads_to_the_same_pixels(
    linked: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """Adapters that leave the output as it is, a step of training, a folder, the same picture."""
    folder, x = linked[kind], picture(2, 3, 64, 64)
    generator = models.generator(folder, T)
    with torch.no_grad():
        fresh = Generator(from_folder.load(folder), T)(x)[0]
        torch.testing.assert_close(generator(x)[0], fresh, rtol=0, atol=1e-5)
    before = [p.detach().clone() for p in generator.adapter_parameters()]
    optimiser = torch.optim.AdamW(generator.adapter_parameters(), lr=1e-3)
    (generator(x)[0] - x).abs().mean().backward()
    reached = [p.grad is not None and bool(p.grad.any()) for p in generator.adapter_parameters()]
    assert sum(reached) > 0.45 * len(before), "every B but those of what has no effect"
    optimiser.step()
    fields = {
        "variant": "full", "t": T, "t_source": "given", "losses": {"l1": 1.0}, "latent": "mode",
        "encoder_rank": 2, "unet_rank": 3, "steps": 1, "prompt": "", "seed": 0, "scale": 4,
        "foundation": files.read_json(folder / "foundation.json"),
    }  # fmt: skip
    card = run_card.save(generator, tmp_path, fields)
    assert set(card.adapters) == {"vae_encoder_lora_adapter", "transformer_lora_adapter"}
    again, _ = run_card.load(tmp_path, folder)
    generator.requires_grad_(False)  # torch folds a product of weights with gradients otherwise
    with torch.no_grad():
        trained = generator(x)[0]
        assert torch.equal(again(x)[0], trained)
    assert not torch.equal(trained, fresh)


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_a_step_of_the_trainer(linked: dict[str, Path], kind: str) -> None:
    """All four losses and the discriminator, with activations computed a second time."""
    trainer = models.trainer(linked[kind], t=T, gradient_checkpointing=True)
    before = [p.detach().clone() for p in trainer.generator.adapter_parameters()]
    terms = trainer.update([models.batch(side=64)])
    assert all(torch.isfinite(torch.tensor(float(value))) for value in terms.values())
    after = trainer.generator.adapter_parameters()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_a_folder_is_what_its_name_says_and_nothing_else(
    folders: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    catalogue.check(kind, folders[kind])
    for other in catalogue.KNOWN.keys() - {kind}:
        with pytest.raises(ValueError, match=f"{other} is asked for, but this looks like {kind}"):
            catalogue.check(other, folders[kind])


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_the_card_says_what_fixes_the_schedule(linked: dict[str, Path], kind: str) -> None:
    card, backbone = files.read_json(linked[kind] / "foundation.json"), load(linked, kind)
    table = FlowTable(**card["flow"])
    assert torch.equal(backbone.schedule.noise, table.sigmas())
    assert table.resolution == flow_hub.RESOLUTION[kind]
    assert card["timestep_origin"] == 0


def load(linked: dict[str, Path], kind: str) -> Backbone:
    return from_folder.load(linked[kind])


def test_the_papers_timestep(linked: dict[str, Path]) -> None:
    schedule = load(linked, "flux1-dev").schedule
    assert schedule.coefficients(244)[1] == pytest.approx(0.50511, abs=5e-6)
    assert schedule.last == 998


def test_another_resolution_is_another_foundation(
    folders: dict[str, Path], convnext: Features, tmp_path: Path
) -> None:
    """The same t is another sigma there: no run is restored with it."""
    hashes, folder = [], folders["flux1-dev"]
    for resolution in (512, 1024):
        plan = models.section(
            backbone="flux1-dev", path=str(folder), features=convnext, resolution=resolution
        )
        foundation.link(tmp_path / f"{resolution}", folder, plan, tmp_path / "prompts")
        hashes.append(files.read_json(tmp_path / f"{resolution}" / "foundation.json")["sha256"])
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [({"resolution": None}, "resolution: got None.*multiple of 16"),
     ({"timestep_origin": 1}, "timestep_origin: got 1.*set it to 0")],
)  # fmt: skip
def test_settings_without_sense_are_refused(
    folders: dict[str, Path], convnext: Features, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    values = {"resolution": 1024} | change
    plan = models.section(backbone="flux1-dev", features=convnext, **values)
    with pytest.raises(ValueError, match=said):
        foundation.link(tmp_path, folders["flux1-dev"], plan)


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_a_checkpoint_of_another_family_is_refused_by_what_it_is(
    folders: dict[str, Path], convnext: Features, tmp_path: Path, kind: str
) -> None:
    sd = hub.write_hub_folder(tmp_path / "sd15", "sd15")
    with pytest.raises(ValueError, match=f"{kind} is asked for, but this looks like sd15"):
        foundation.link(tmp_path / "a", sd, section(kind, sd, convnext))
    plan = models.section(backbone="sd15", features=convnext)
    with pytest.raises(ValueError, match=f"sd15 is asked for, but this looks like {kind}"):
        foundation.link(tmp_path / "b", folders[kind], plan)
    assert not (tmp_path / "a" / prompt.EMBEDDING).exists()

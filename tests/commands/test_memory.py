"""The estimate of a training's memory, and what to switch for less."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from omgsr import config
from omgsr.commands import memory_advice, memory_estimate
from omgsr.commands.memory_advice import NF4, Change, advice, changed, changes
from omgsr.method.losses import PERCEPTUAL
from omgsr.models.backbones.from_folder import FAMILIES
from omgsr.training.settings import Settings
from tests.helpers import flow_hub, hub, models

ROOT = Path(__file__).parents[2]
CONVNEXT = ("convnext_atto", {"depths": [1, 1, 1, 1], "dims": [8, 12, 16, 8]})
SIDE = 64


def plan(profile: str = "flux", **more: Any) -> Settings:
    found = config.load(ROOT, profile, ready=False)
    given = {**vars(found.train), "losses": found.variants["full"].losses, "seed": 0}
    return Settings(**(given | more))


def step(kind: str, folder: Path, settings: Settings, fake: bool) -> memory_estimate.Estimate:
    return memory_estimate.of_step(
        lambda: memory_estimate.networks(kind, folder, CONVNEXT, (2, 3)), settings, SIDE, fake=fake
    )


@pytest.mark.parametrize(
    ("kind", "checkpointing"),
    [*((kind, True) for kind in (*flow_hub.KINDS, "sd21-base")), ("flux1-dev", False)],
)
def test_a_step_without_memory_takes_what_a_real_one_does(
    kind: str, checkpointing: bool, tmp_path: Path
) -> None:
    """Below one per cent are single numbers, which a real step keeps as tensors."""
    write: Callable[..., Path] = (hub if kind in hub.KINDS else flow_hub).write_hub_folder
    write(tmp_path, kind)
    settings = plan(gradient_checkpointing=checkpointing)
    estimate, real = (step(kind, tmp_path, settings, fake) for fake in (True, False))
    activations = [one.parts["activations"] for one in (estimate, real)]
    assert activations[0] == pytest.approx(activations[1], rel=0.01)
    assert replace(estimate, parts={**estimate.parts, "activations": activations[1]}) == real


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_of_another_family_take_what_they_really_do(
    tmp_path: Path, precision: Any
) -> None:
    hub.write_hub_folder(tmp_path, "sd21-base")
    settings = plan(gradient_checkpointing=True, precision=models.precision(precision))
    network = ("tf_efficientnet_lite0", dict[str, Any]())
    estimate, real = (
        memory_estimate.of_step(
            lambda: memory_estimate.networks("sd21-base", tmp_path, network, (2, 3)),
            settings, SIDE, fake=fake,
        )
        for fake in (True, False)
    )  # fmt: skip
    activations = [one.parts["activations"] for one in (estimate, real)]
    assert activations[0] == pytest.approx(activations[1], rel=0.01)
    assert replace(estimate, parts={**estimate.parts, "activations": activations[1]}) == real


def test_the_feature_network_of_a_profile_is_that_of_its_name() -> None:
    mini = config.load(ROOT, "mini")
    for name, count in (("convnext_atto", 316_872), ("tf_efficientnet_lite0", 700_768)):
        section = replace(mini.foundation, features=replace(mini.foundation.features, name=name))
        planned = memory_advice.Planned.of(replace(mini, foundation=section), ROOT)
        _, network = memory_estimate.networks(planned.name, planned.folder, planned.network, (2, 2))
        assert sum(p.numel() for p in network.parameters()) == count


def test_parts_are_those_of_the_real_networks(tmp_path: Path) -> None:
    flow_hub.write_hub_folder(tmp_path, "flux1-dev")
    settings = plan(ema=0.9)
    found = step("flux1-dev", tmp_path, settings, fake=True)
    generator, network = memory_estimate.networks("flux1-dev", tmp_path, CONVNEXT, (2, 3))
    heads = memory_estimate.Discriminator(network.channels)
    adapters = sum(p.numel() for p in generator.adapter_parameters())
    assert found.trained == adapters + sum(p.numel() for p in heads.parameters())
    assert found.parts["their gradients"] == found.parts["adapters and heads"] == 4 * found.trained
    assert found.parts["optimiser"] == 8 * found.trained
    assert found.parts["average"] == 4 * adapters
    assert found.with_optimiser("adamw8bit").parts["optimiser"] == 2 * found.trained
    buffers = sum(b.nbytes for part in (generator, network, heads) for b in part.buffers())
    backbone: Any = generator.backbone
    trained = {id(p) for p in generator.adapter_parameters()}
    sizes = {
        part: sum(p.numel() for p in module.parameters() if id(p) not in trained)
        for part, module in (("bf16", backbone.denoiser), ("vae", backbone.vae), ("f", network))
    }
    assert found.frozen == sum(sizes.values())
    expected = 2 * sizes["bf16"] + 4 * (sizes["vae"] + sizes["f"]) + buffers
    assert found.parts["frozen weights"] == expected


def test_the_networks_of_perceptual_losses_are_left_out(tmp_path: Path) -> None:
    flow_hub.write_hub_folder(tmp_path, "flux1-dev")
    settings = plan(losses={"l1": 1.0, **dict.fromkeys(PERCEPTUAL, 1.0)})
    found, without = (
        step("flux1-dev", tmp_path, one, fake=True) for one in (settings, plan(losses={"l1": 1.0}))
    )
    assert found == without


@pytest.mark.parametrize("name", memory_estimate.KNOWN)
def test_the_published_sizes_give_the_published_numbers_of_weights(name: str) -> None:
    """To 1.5 %: the pages of the models round them."""
    denoiser, vae = memory_estimate.configurations(name, None)
    with torch.device("meta"):
        network = FAMILIES[name].denoiser_class.from_config(denoiser)
    count = sum(x.numel() for x in network.state_dict().values())
    assert count == pytest.approx(memory_estimate.KNOWN[name]["weights"], rel=0.015)
    assert vae["_class_name"].startswith("Autoencoder")


def test_every_backbone_but_those_without_one_size_is_known() -> None:
    assert FAMILIES.keys() - memory_estimate.KNOWN.keys() == {"mini", "mini_flow", "sd"}


def test_changes_are_those_that_are_left() -> None:
    left = [str(one) for one in changes(plan("paper"))]
    assert left == [
        "train.gradient_norms_every: null", "train.gradient_checkpointing: true",
        "train.optimiser: adamw8bit", "train.precision.features: bf16", "train.precision.vae: bf16",
    ]  # fmt: skip
    taken = changed(plan("paper"), changes(plan("paper")))
    assert not changes(taken)
    assert (taken.optimiser, taken.gradient_checkpointing) == ("adamw8bit", True)


A, B, C = (Change(name, True) for name in "abc")


@pytest.mark.parametrize(
    ("limit", "taken", "fits"),
    [
        (95, (A,), True),  # exactly, by the first
        (94, (B,), True),  # by another one alone
        (80, (B,), True),
        (79, (A, B), True),
        (75, (A, B), True),
        (74, (A, B, C), True),
        (72, (A, B, C), True),
        (71, (A, B, C), False),
    ],
)
def test_the_advice_is_the_least_that_fits(limit: int, taken: Sequence[Change], fits: bool) -> None:
    saved = {A: 5, B: 20, C: 3}
    found = advice([A, B, C], lambda row: 100 - sum(saved[one] for one in row), limit)
    assert found == (taken, fits)


@pytest.mark.parametrize(
    ("limit", "taken"),
    [
        (72, (A, B, C)),  # without 4 bits, as it can be
        (71, (NF4,)),
        (40, (NF4,)),
        (39, (NF4, A)),
        (35, (NF4, A)),
        (34, (NF4, A, B)),
        (12, (NF4, A, B, C)),
    ],
)
def test_four_bits_are_the_last_resort(limit: int, taken: Sequence[Change]) -> None:
    saved = {A: 5, B: 20, C: 3, NF4: 60}
    total = lambda row: 100 - sum(saved[one] for one in row)  # noqa: E731
    assert advice([A, B, C, NF4], total, limit) == (taken, True)
    assert advice([A, B, C, NF4], total, 11) == ((A, B, C, NF4), False)


def test_four_bits_take_an_eighth_of_fp32() -> None:
    """Of what the blocks of mini's UNet hold; adapters, VAE and all else stay."""
    planned = memory_advice.Planned.of(config.load(ROOT, "mini"), ROOT)
    plain, small = planned.estimate(), planned.estimate((NF4,))
    count, size = plain.in_blocks
    assert size == 4 * count > 1e6
    saved = plain.parts["frozen weights"] - small.parts["frozen weights"]
    assert saved == pytest.approx(size - memory_estimate.NF4 * count, abs=1)
    assert str(NF4) == "foundation.quantise: nf4"
    assert {**small.parts, "frozen weights": 0} == {**plain.parts, "frozen weights": 0}


def test_the_advice_at_the_boundary_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_advice, "SPARE", 0.0)
    mini = config.load(ROOT, "mini")
    said = {one.what: one.text for one in memory_advice.findings(mini, ROOT, 1e6, 2.0)}
    assert said["fits"].startswith("into 1000000 GiB")
    passes = mini.train.steps * mini.train.accumulate
    assert said["a run"].startswith(f"{passes * 2 / 3600:.1f}: {passes:,} forward passes of 2 s")
    least = next(memory_advice.findings(mini, ROOT, 1e-6, None)).text
    assert least.endswith("M weights")
    said = {one.what: one.text for one in memory_advice.findings(mini, ROOT, 1e-6, None)}
    assert "nor with all that saves memory (train." in said["fits"]
    assert "cannot be told" in said["a run"]
    assert memory_advice.MEASURE in said["a run"]


def test_a_model_without_a_size_is_said() -> None:
    paper = config.load(ROOT, "paper", ready=False)
    other = replace(paper, foundation=replace(paper.foundation, backbone="sd"))
    (found,) = memory_advice.findings(other, ROOT, None, None)
    assert found.text.startswith("cannot be told: sd has no published size")

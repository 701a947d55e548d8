"""The benchmark of the training step: its reference is the same step, and the script runs."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from benchmarks import full_networks, train_step
from benchmarks.reference_step import Reference
from benchmarks.train_step import Case, Measured, measure
from omgsr.core import seeding
from omgsr.data.datasets import Batch
from omgsr.method import lora
from omgsr.models.backbones.base import CONVOLUTIONAL
from tests.helpers import models
from tests.helpers.models import WEIGHTS

TINY = Case(name="ours", tiny=True, size=32)


def test_the_reference_takes_the_same_step(tiny: Path) -> None:
    """Its five passes and two optimisers, written apart from ours, end at the same weights."""
    trainer = models.trainer(tiny, trained=0.1, clip_grad=1.0)
    backbone, t = trainer.generator.backbone, trainer.generator.t
    x_lq, x_hq = models.pair(batch=2)
    mean, std = (tuple(x.flatten().tolist()) for x in (trainer.features.mean, trainer.features.std))
    judge = torch.nn.Module()  # the three levels as the stages of a ConvNeXt
    judge.stem = torch.nn.Identity()
    judge.stages = trainer.features.levels
    reference = Reference(
        vae=copy.deepcopy(backbone.vae), frozen_vae=models.backbone(tiny).vae,
        unet=copy.deepcopy(backbone.denoiser), judge=judge, perceptual=copy.deepcopy(judge),
        heads=copy.deepcopy(trainer.discriminator), prompt=backbone.prompt["prompt"],
        alpha_bar=float(backbone.schedule.signal[t]) ** 2, index=t, weights=WEIGHTS,
        lr=trainer.settings.lr, weight_decay=trainer.settings.weight_decay, clip_grad=1.0,
        real_label=0.8, mean=mean, std=std,
    )  # fmt: skip
    rngs = [seeding.torch_rng(0, "noise", 0, place) for place in range(2)]
    eps = torch.stack([torch.randn(4, 16, 16, generator=rng) for rng in rngs])
    theirs, ours = reference.step(x_lq, x_hq, eps), trainer.update([Batch(x_lq, x_hq)])
    for name, value in theirs.items():
        assert value == pytest.approx(ours[name], rel=1e-4), name
    adapters = trainer.generator.adapter_parameters()
    pairs = [*zip(adapters, reference.adapters, strict=True)]
    pairs += zip(trainer.discriminator.parameters(), reference.heads.parameters(), strict=True)
    moved = torch.cat([(a - b).detach().flatten() for a, b in pairs]).abs()
    # The first step of Adam is the gradient's sign times lr: it flips where the gradient is noise.
    assert (moved > trainer.settings.lr / 10).float().mean() < 0.01


@pytest.mark.parametrize(
    "case",
    [
        TINY,
        replace(TINY, checkpointing=True),
        replace(TINY, precision="bf16"),
        replace(TINY, reference=True),
        replace(TINY, reference=True, precision="bf16"),
    ],
    ids=str,
)
def test_every_case_is_measured(case: Case) -> None:
    found = measure(case)
    assert found.seconds > 0
    assert found.peak > 2**20
    assert found.flops > 1e6
    assert min(found.counts.values()) > 0


def test_sharing_saves_arithmetic() -> None:
    assert measure(TINY).flops < measure(replace(TINY, reference=True)).flops


def test_the_full_sizes_are_those_of_the_paper() -> None:
    """Without memory: SD2.1-base has 865.9 M weights, its VAE 83.7 M; adapters as published."""
    full = full_networks.FULL
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**full.unet), AutoencoderKL(**full.vae)
    assert [round(sum(p.numel() for p in m.parameters()) / 1e6, 1) for m in (unet, vae)] == [
        865.9, 83.7,
    ]  # fmt: skip
    for module, rank, targets, name in (
        (vae.encoder, full.encoder_rank, CONVOLUTIONAL, "encoder adapter"),
        (unet, full.unet_rank, CONVOLUTIONAL, "UNet adapter"),
    ):
        weights = lora.parameters(lora.add(module, rank, targets, seed=0))
        assert round(sum(p.numel() for p in weights) / 1e6, 2) == full_networks.COUNTS[name]


def test_a_missed_bar_is_said() -> None:
    counts = {"encoder adapter": 1_480_000, "UNet adapter": 25_260_000, "heads": 1}
    case = Case(name="ours")
    fine = Measured(seconds=1.0, peak=15e9, flops=1.0, counts=counts)
    assert train_step.misses({case: fine}) == []
    assert "the bar is 20" in train_step.misses({case: replace(fine, peak=22e9)})[0]
    other = replace(fine, counts=counts | {"UNet adapter": 20_000_000})
    assert "20000000 weights, expected 25.26 M" in train_step.misses({case: other})[0]
    gpu = replace(case, device="cuda", size=512)
    again = {gpu: fine, replace(gpu, name="ours, checkpointing", checkpointing=True): fine}
    both = again | {replace(gpu, name="reference", reference=True): replace(fine, seconds=1.4)}
    said = train_step.misses(both)
    assert len(said) == 2
    assert "15.0 GB, the bar is 14" in said[0]
    assert "1.40 times the reference's" in said[1]


def test_the_script_compares(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_step, "_alone", measure)  # without a process of its own
    assert train_step.main(["--tiny", "--compare", "--size", "32", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for name in ("ours  ", "ours, checkpointing", "reference", "UNet adapter"):
        assert name in said
    assert "times the reference's steps a second" in said

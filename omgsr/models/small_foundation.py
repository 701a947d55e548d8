"""A small foundation trained here: photographs and dead leaves => VAE, denoiser, features, prompt.

training.csv beside them has the mean losses: of every network, of every hundred steps.
"""

import csv
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from omgsr.core import files, seeding
from omgsr.data.dead_leaves import dead_leaves
from omgsr.models import (
    feature_sources,
    features,
    foundation,
    pretraining,
    prompt,
    small_networks,
)
from omgsr.models.backbones.base import Backbone
from omgsr.models.backbones.from_folder import FAMILIES
from omgsr.models.crop_pool import CropPool
from omgsr.models.pretraining import Course, Losses
from omgsr.models.settings import Foundation, FoundationTraining

CURVE = "training.csv"


def train(
    out: Path,
    photographs: list[np.ndarray],
    settings: Foundation,
    seed: int,
    work: Path | None = None,
) -> Losses:
    """Trains the small model, from random or shipped weights; yields (network, step, loss).

    With a folder `work` a killed training goes on from its last checkpoint, to the same weights.
    Raises ValueError for settings that fit no small model.
    """
    foundation.require_no_prompt(settings)
    plan = settings.training
    if plan is None:
        raise ValueError("foundation.training is null, but source: train needs it")
    if plan.image_size % 32:  # the stride of the ConvNeXt
        raise ValueError(
            f"foundation.training.image_size must be a multiple of 32, got {plan.image_size}"
        )
    leaves = [
        dead_leaves(seeding.rng(seed, "foundation", "leaves", i), 256, 256)
        for i in range(plan.dead_leaves)
    ]
    pool = CropPool(photographs + leaves, plan.image_size)
    courses = _courses(pool, plan, FAMILIES[settings.backbone].denoiser_folder, seed, work)
    yield from _vae(out, courses["vae"], plan)
    yield from _denoiser(out, courses["denoiser"], plan, settings)
    yield from _features(out, courses["features"], settings)
    _write_curve(out / CURVE, courses)
    foundation.write_card(out, Path("model"), settings)


def _courses(
    pool: CropPool, plan: FoundationTraining, denoiser: str, seed: int, work: Path | None
) -> dict[str, Course]:
    """What each network is trained on; `denoiser` is the name that its randomness has."""
    numbers = {
        "vae": ("vae", plan.vae_steps, plan.vae_batch, plan.vae_lr),
        "denoiser": (denoiser, plan.denoiser_steps, plan.denoiser_batch, plan.denoiser_lr),
        "features": ("features", plan.feature_steps, plan.feature_batch, plan.feature_lr),
    }
    return {
        part: Course(pool, seeding.rng(seed, "foundation", name), steps, batch, lr, work,
                     seeding.derive(seed, "foundation", name))
        for part, (name, steps, batch, lr) in numbers.items()
    }  # fmt: skip


def _vae(out: Path, course: Course, plan: FoundationTraining) -> Losses:
    if not course.steps:
        foundation.copy_shared("model/vae", out)
        return
    torch.manual_seed(course.weights)
    vae = small_networks.small_vae(plan.start == "shipped")
    yield from pretraining.train_vae(vae, course)
    vae.half().save_pretrained(out / "model" / "vae")


def _denoiser(out: Path, course: Course, plan: FoundationTraining, settings: Foundation) -> Losses:
    torch.manual_seed(course.weights)
    backbone = _backbone(out / "model", settings, plan.start == "shipped")
    yield from pretraining.train_denoiser(backbone, course)
    backbone.denoiser.half().save_pretrained(out / "model" / backbone.denoiser_folder)
    for weights in (out / "model").rglob("*.safetensors"):
        files.share(weights)
    save_file(backbone.prompt, out / prompt.EMBEDDING)


def _backbone(model: Path, settings: Foundation, shipped: bool) -> Backbone:
    """A denoiser over the VAE in `model`, which gets the scheduler too."""
    family, name = FAMILIES[settings.backbone], foundation.shipped(settings)
    scheduler = small_networks.ASSETS / name / "model" / "scheduler"
    shutil.copytree(scheduler, model / "scheduler", dirs_exist_ok=True)
    origin = settings.timestep_origin
    card = {"timestep_origin": origin, **family.card_fields(model, origin, settings.resolution)}
    vae = family.load_vae(model / "vae").float()
    shift, scale = family.statistics(vae.config)
    denoiser = small_networks.small_denoiser(name, family, shipped)
    return family(
        vae=vae,
        denoiser=denoiser,
        schedule=family.noise_schedule(model, card),
        prompt=small_networks.small_prompt(name, shipped),
        shift=shift,
        scale=scale,
    )


def _features(out: Path, course: Course, settings: Foundation) -> Losses:
    if not course.steps:
        feature_sources.ship(settings.features, out / "features")
        return
    torch.manual_seed(course.weights)
    convnext = small_networks.small_features()
    yield from pretraining.train_features(convnext, course)
    features.save(convnext, out / "features", small_networks.FEATURES)
    feature_sources.finish(settings.features, out / "features")


def _write_curve(path: Path, courses: dict[str, Course]) -> None:
    """Rows (network, step, loss): the loss is the mean of the steps since the row before."""
    with files.atomic(path) as temporary, open(temporary, "w", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(("network", "step", "loss"))
        for part, course in courses.items():
            rows.writerows((part, step, f"{loss:.6g}") for step, loss in course.curve)

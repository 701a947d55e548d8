"""What each setting of profile `official` changes: README's table of sizes, as Markdown.

    python -m benchmarks.official

On the packaged photographs and with the weights that profile mini ships: some 2 minutes on one
core, the same numbers each time. Networks of SD2.1's size give others; where mini's say little, the
line says so. Means are over photographs, with 95 % intervals; gradients are those of one pair with
fresh adapters and heads, as |g' - g| / |g|, t* has a bootstrap interval.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmarks import official_gradients, official_pictures
from benchmarks.official_arithmetic import count, optimum, padding, shrink, snr
from benchmarks.official_gradients import Step
from benchmarks.official_pictures import Pictures
from omgsr import config
from omgsr.data.datasets import Batch
from omgsr.data.presets import Preset
from omgsr.evaluation.statistics import Interval
from omgsr.method.generator import Generator
from omgsr.method.timestep import Result, find, snr_array
from omgsr.models import features, foundation
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone
from omgsr.models.features import Features

Row = tuple[str, str, str]
"""Setting, what is measured, its size."""
Case = tuple[Any, ...]
"""Preset, degradations of a photograph, enlarging and latent for t*."""
ROOT = Path(__file__).parents[1]
T = 273
"""The released code's timestep."""
TRAINED, JUDGED = 128, 384
"""Sides of a picture for gradients, and for heads alone, pixels."""
LOOKED_AT, ENCODED = 8, 4
"""Degradations of every photograph: to look at, and to encode."""
SEEN = 94_991
"""Training images."""


def main() -> None:
    """Prints the table line by line."""
    torch.set_num_threads(1)  # sums are rounded alike whatever the machine's cores
    pictures, (backbone, network) = official_pictures.photographs(), mini()
    print("Packaged photographs, 512 px; networks: mini's shipped weights.\n")
    print("| setting | what is measured | paper => official |\n|---|---|---|")
    for part in (
        arithmetic(), of_data(pictures), of_timestep(pictures, backbone),
        of_gradients(pictures, backbone, network),
    ):  # fmt: skip
        for row in part:
            print("| " + " | ".join(row) + " |", flush=True)


def mini() -> tuple[Backbone, Features]:
    """The networks that this repository ships."""
    with tempfile.TemporaryDirectory() as folder:
        foundation.ship(Path(folder), config.load(ROOT, "mini").foundation)
        return from_folder.load(Path(folder)), features.load(Path(folder) / "features")


def arithmetic() -> Iterator[Row]:
    """What follows from the settings alone."""
    paper, official = (config.load(ROOT, n, ready=False).train for n in ("paper", "official"))
    epochs = [p.steps * p.accumulate * p.batch / SEEN for p in (paper, official)]
    yield "train.steps", "epochs of 94,991 images", arrow(epochs, ".2f")
    sizes = [100 * shrink(p.steps, p.lr, p.weight_decay) for p in (paper, official)]
    yield "train.weight_decay", "shrink of a weight without gradient, %", arrow(sizes, ".3f")
    ratios = [snr(T, origin) for origin in (1, 0)]
    yield "foundation.timestep_origin", "SNR of SD2.1 at t = 273", arrow(ratios, ".4f")
    faces = [100 * (512 / side) ** 2 for side in (1024, 512)]
    yield "data.train.folders[1].resize", "share of a face in a crop, %", arrow(faces, ".0f")
    optima = [optimum(leftover) for leftover in (False, True)]
    yield "train.head_gradient", "the heads' best answer to a restored image", arrow(optima, ".2f")
    weights = [count(kind) for kind in ("map", "official")]
    yield "train.heads", "weights on ConvNeXt-L", arrow(weights, ",")
    extra = [100 * padding(multiple) for multiple in (8, 64)]
    yield "(sizes)", "pixels added to photographs by padding to 8 => 64, %", arrow(extra, ".1f")


def of_data(pictures: Pictures) -> Iterator[Row]:
    """LQ images and x_L."""
    light, standard, official = presets()
    codec, cut = replace(light, jpeg="diff"), replace(light, resize="scale_factor")
    cases = (
        ("data.degradation", standard, light, "realesrgan => light"),
        ("degradation.<preset>.jpeg", light, codec, "of light"),
        ("degradation.<preset>.resize", light, cut, "of light"),
    )
    for name, first, second, what in cases:
        rough, near = official_pictures.change_of_lq(pictures, first, second, LOOKED_AT)
        yield name, f"chroma roughness of the LQ, {what}, %", mean(rough)
        yield name, f"PSNR of the LQ, {what}, dB", mean(near, "+.2f")
    yield "data.enlarge", "PSNR of x_L, dB", mean(
        official_pictures.change_of_x_lq(pictures, official, LOOKED_AT), "+.2f"
    )


def of_timestep(pictures: Pictures, backbone: Backbone) -> Iterator[Row]:
    """What t* is computed from."""
    light, standard, official = presets()
    plain = standard, ENCODED
    stars: dict[str, tuple[Case, Case]] = {
        "data.degradation": (plain, (light, ENCODED)),
        "data.enlarge": ((official, ENCODED), (official, ENCODED, "random")),
        "timestep.latent": (plain, (standard, ENCODED, "bicubic", "sample")),
    }
    snrs = snr_array(backbone.schedule.snr())
    moments = cache(lambda *case: official_pictures.moments(backbone, pictures, *case))
    for name, both in stars.items():
        found = (find(*moments(*case), snrs, bootstrap=1000, seed=0) for case in both)
        yield name, "t*", " => ".join(map(star, found))
    sizes = [official_pictures.of_batches(*moments(*plain), snrs, n) for n in (1, 2, 4)]
    yield "(t*)", "t* of images => of means over batches of 2 => 4", arrow(sizes, "d")
    noise = official_pictures.sampling_noise(backbone, pictures, standard, 1)
    yield "timestep.latent", "noise of sampling in z_L, %; mini's VAE alone", mean(noise, ".2f")


def presets() -> list[Preset]:
    """Those of params.yaml."""
    every = config.load(ROOT, ready=False).degradation
    return [every[name] for name in ("light", "realesrgan", "official")]


def of_gradients(pictures: Pictures, backbone: Backbone, network: Features) -> Iterator[Row]:
    """One step on a pair of every photograph, from `paper` in fp32."""
    paper = config.load(ROOT, "paper", ready=False)
    preset = paper.degradation["official"]
    plan = replace(paper.train, precision=official_gradients.precision("fp32"))
    generator = Generator(backbone, T)
    generator.add_adapters(plan.encoder_rank, plan.unet_rank, seed=0)
    step = Step(generator=generator, features=network, weights=dict(paper.variants["full"].losses))
    pairs = list(batches(pictures, preset))
    notes = {
        "precision": "L_G, fp32 => the profiles' mix (the same in both)",
        "precision, all bf16": "L_G, fp32 => all in bf16",
        "latent": "L_G; mini's VAE alone",
        "clamp": "L_G; fresh adapters alone",
        "diffaugment": "L_G, none => shared (as anew)",
        "diffaugment, anew": "heads, shared => anew",
        "spectral_norm": "L_G",
        "head_gradient": "heads",
    }
    for name, found in official_gradients.changes(step, pairs, plan).items():
        yield f"train.{name.split(',')[0]}", f"gradient: {notes[name]}, %", mean(found)
    yield "train.clamp", "values of x_P outside [-1, 1], %", mean(
        official_gradients.outside(generator, pairs)
    )
    large = [official_pictures.middle(p, JUDGED) for p in pictures.values()]
    ratio = official_gradients.ratio_of_heads(network, large)
    yield "train.heads", "gradient of fresh heads in a picture, times", mean(ratio, ".1g")


def batches(pictures: Pictures, preset: Preset) -> Iterator[Batch]:
    """The middles of a pair of every photograph."""
    for name, hq in pictures.items():
        x_lq = official_pictures.enlarged(pictures, preset, (name, 0), "bicubic")
        low, high = (official_pictures.middle(x, TRAINED) for x in (x_lq, hq))
        yield Batch(low, high, [name])


def mean(found: Interval, form: str = ".1f") -> str:
    """A mean with its interval."""
    return f"{found.mean:{form}} ({found.low:{form}} to {found.high:{form}})"


def star(found: Result) -> str:
    """t* with its interval."""
    return f"{found.t} ({found.low} to {found.high})"


def arrow(values: Sequence[float], form: str) -> str:
    """Two numbers."""
    return " => ".join(f"{value:{form}}" for value in values)


if __name__ == "__main__":
    main()

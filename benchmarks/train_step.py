"""One training step of OMGSR-S at its true size, with random weights: memory, speed, counts.

    python -m benchmarks.train_step                                a step at 128 px, on a CPU too
    python -m benchmarks.train_step --device cuda --size 512       with the bars of a GPU
    python -m benchmarks.train_step --tiny --compare               the script itself, in seconds

SD2.1-base with adapters of rank 16 and 32, DINOv3-ConvNeXt-large, batch 1, the four losses of the
paper. On CUDA, or with --compare, three cases take their turn, each in a process of its own: ours
without and with gradient checkpointing, and the plain step of reference_step.py. Bars: at 128 px on
a CPU 20 GiB; at 512 px on a GPU 20 GB, 14 GB with checkpointing, and 1.5 times the reference's
steps a second. Fails below a bar that applies.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.full_networks import (
    COUNTS,
    FULL,
    TINY,
    T,
    autoencoder,
    build,
    convnext,
    statistics,
)
from benchmarks.reference_step import Reference
from omgsr import config
from omgsr.core import devices
from omgsr.data.datasets import Batch
from omgsr.method.discriminator import Discriminator
from omgsr.method.generator import Generator
from omgsr.method.settings import Arithmetic, Precision
from omgsr.models.features import Features
from omgsr.training import memory
from omgsr.training.settings import Settings
from omgsr.training.trainer import Trainer

WEIGHTS = {"lrr": 5.0, "gan": 0.5, "dv3cd": 5.0, "l1": 0.5}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one process measures."""

    name: str
    reference: bool = False
    checkpointing: bool = False
    tiny: bool = False
    size: int = 128
    device: str = "cpu"
    precision: Arithmetic = "fp32"
    """Of every part."""
    steps: int = 1
    """Timed ones."""
    warmup: int = 0
    """Untimed ones, after the first, whose arithmetic is counted."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one step took."""

    seconds: float
    """Of the fastest timed step: whatever else the machine does only adds."""
    peak: float
    """Most memory, bytes: reserved on the GPU, or resident of the whole process."""
    flops: float
    """Of the convolutions and matrix products of a step."""
    counts: dict[str, int]
    """Weights of the trained parts."""


def measure(case: Case) -> Measured:
    """Builds the networks of a case and takes its steps."""
    where = torch.device(case.device)
    torch.manual_seed(0)
    step, counts = (_reference if case.reference else _ours)(case, where)
    with FlopCounterMode(display=False) as counter:
        step()
    for _ in range(case.warmup):
        step()
    if where.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(case.steps):
        started = time.perf_counter()
        step()
        if where.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return Measured(
        seconds=min(times),
        peak=_peak(where),
        flops=counter.get_total_flops(),
        counts=counts,
    )


def _peak(where: torch.device) -> float:
    if where.type == "cuda":  # what the card must have, without what CUDA itself takes
        return torch.cuda.max_memory_reserved()
    return memory.peak_gib(where) * 2**30


def _ours(case: Case, where: torch.device) -> tuple[Callable[[], Any], dict[str, int]]:
    sizes = TINY if case.tiny else FULL
    generator = build(sizes)
    network = Features(convnext(sizes), *statistics())
    precision = Precision(**dict.fromkeys(("vae", "denoiser", "features", "heads"), case.precision))
    memory.place(generator, network, where, precision, case.checkpointing)
    paper = vars(config.load(profile="paper", ready=False).train)
    own = {
        "losses": WEIGHTS, "seed": 0, "steps": 1, "batch": 1, "accumulate": 1, "clip_grad": 1.0,
        "precision": precision, "gradient_checkpointing": case.checkpointing,
    }  # fmt: skip
    settings = Settings(**(paper | own))
    trainer = Trainer(generator, network, settings)
    pair = Batch(*_images(case.size, where), ["random"])
    return lambda: trainer.update([pair]), _counts(generator, trainer.discriminator)


def _reference(case: Case, where: torch.device) -> tuple[Callable[[], Any], dict[str, int]]:
    sizes = TINY if case.tiny else FULL
    generator = build(sizes)
    frozen = autoencoder(sizes)
    judge, perceptual = convnext(sizes), convnext(sizes)
    for network in (generator, frozen, judge, perceptual):
        for name, p in network.named_parameters():
            p.data = p.data if "lora_" in name else p.data.to(memory.DTYPES[case.precision])
        network.to(where)
    backbone = generator.backbone
    heads = Discriminator(Features(judge, *statistics()).channels).to(where)
    reference = Reference(
        vae=backbone.vae, frozen_vae=frozen, unet=backbone.denoiser, judge=judge,
        perceptual=perceptual, heads=heads, prompt=backbone.prompt["prompt"],
        alpha_bar=float(backbone.schedule.signal[T]) ** 2, index=T, weights=WEIGHTS,
        bf16=case.precision == "bf16",
    )  # fmt: skip
    pair = _images(case.size, where)
    side = case.size // backbone.reduction
    eps = torch.randn(1, sizes.vae["latent_channels"], side, side).to(where)
    return lambda: reference.step(*pair, eps), _counts(generator, heads)


def _images(size: int, where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    x_lq, x_hq = torch.rand(2, 1, 3, size, size).mul(2).sub(1).to(where)
    return x_lq, x_hq


def _counts(generator: Generator, heads: nn.Module) -> dict[str, int]:
    parts = {
        "encoder adapter": generator.backbone.vae.encoder,
        "UNet adapter": generator.backbone.denoiser,
    }
    counts = {
        name: sum(p.numel() for n, p in part.named_parameters() if "lora_" in n)
        for name, part in parts.items()
    }
    return {**counts, "heads": sum(p.numel() for p in heads.parameters())}


def cases(given: argparse.Namespace, where: torch.device) -> list[Case]:
    """Ours alone, or with everything it is compared with."""
    gpu = where.type == "cuda"
    plain = Case(
        name="ours", tiny=given.tiny, size=given.size, device=where.type,
        precision=given.precision or ("bf16" if gpu else "fp32"),
        steps=given.steps or (20 if gpu else 3), warmup=5 if gpu else 0,
    )  # fmt: skip
    checkpointed = replace(plain, name="ours, checkpointing", checkpointing=True)
    if gpu or given.compare:
        return [plain, checkpointed, replace(plain, name="reference", reference=True)]
    return [checkpointed if given.checkpointing else plain]


def misses(found: dict[Case, Measured]) -> list[str]:
    """The bars that apply and are not met."""
    said = []
    for case, one in found.items():
        if case.reference or case.tiny:
            continue
        for part, millions in COUNTS.items():
            if round(one.counts[part] / 1e6, 2) != millions:
                said.append(f"{part}: {one.counts[part]} weights, expected {millions} M")
        if case.device == "cpu" and case.size == 128 and one.peak > 20 * 2**30:
            said.append(f"{case.name}: {one.peak / 2**30:.1f} GiB, the bar is 20")
        bar = 14 if case.checkpointing else 20
        if case.device == "cuda" and case.size == 512 and one.peak > bar * 1e9:
            said.append(f"{case.name}: {one.peak / 1e9:.1f} GB, the bar is {bar}")
    ratio = _ratio(found)
    on_gpu = any(case.device == "cuda" and case.size == 512 and not case.tiny for case in found)
    if on_gpu and ratio is not None and ratio < 1.5:
        said.append(f"{ratio:.2f} times the reference's steps a second, the bar is 1.5")
    return said


def _ratio(found: dict[Case, Measured]) -> float | None:
    seconds = {case.name: one.seconds for case, one in found.items()}
    if "reference" not in seconds:
        return None
    return seconds["reference"] / seconds["ours"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was measured; 1 below a bar."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.train_step", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--size", type=int, default=128, help="HQ side, pixels")
    parser.add_argument("--device", choices=devices.NAMES, default="auto")
    parser.add_argument("--precision", choices=tuple(memory.DTYPES), help="default: bf16 on CUDA")
    parser.add_argument("--steps", type=int, help="timed steps (default: 20 on CUDA, else 3)")
    parser.add_argument("--checkpointing", action="store_true", help="ours with it, alone")
    parser.add_argument("--compare", action="store_true", help="all three cases on a CPU too")
    parser.add_argument("--tiny", action="store_true", help="networks of a few thousand weights")
    given = parser.parse_args(arguments)
    found: dict[Case, Measured] = {}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print("case                 device  px  precision  s/step  steps/s  peak GB  TFLOP/step")
    for case in cases(given, devices.pick(given.device)):
        found[case] = one = _alone(case)
        print(
            f"{case.name:20} {case.device:6} {case.size:4}  {case.precision:9}{one.seconds:8.3f}"
            f"{1 / one.seconds:9.2f}{one.peak / 1e9:9.2f}{one.flops / 1e12:12.4f}",
            flush=True,
        )
    counts = next(iter(found.values())).counts
    print(", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items()))
    ratio = _ratio(found)
    if ratio is not None:
        print(f"{ratio:.2f} times the reference's steps a second")
    failed = misses(found)
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _alone(case: Case) -> Measured:
    """`measure` in a fresh process, whose peak of memory is that of the case."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, case).result()


if __name__ == "__main__":
    sys.exit(main())

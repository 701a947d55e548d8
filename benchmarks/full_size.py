"""OMGSR-S at its true size with random weights: time and memory of each part, images a second.

    python -m benchmarks.full_size                      encoder, denoiser, decoder at 512 px
    python -m benchmarks.full_size --device cuda        and bf16 images a second, on a GPU
    python -m benchmarks.full_size --tiny --size 64     the script itself, in seconds

SD2.1-base with merged adapters. Each part has a process of its own, whose peak is that of the
networks and of what they compute. On CUDA, or with --speed, four more cases take their turn, at
batch 1 and 8: our restoration with and without torch.compile, and a plain loop over diffusers'
modules with the adapters beside the weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.full_networks import FULL, TINY, build
from omgsr.core import devices
from omgsr.inference import benchmarks
from omgsr.inference.precision import DTYPES, Precision
from omgsr.inference.restore import OneStep
from omgsr.method.generator import Generator
from omgsr.training import memory

PARTS = ("encoder", "denoiser", "decoder")
Work = Callable[[], Any]


def part(name: str, given: argparse.Namespace, where: torch.device) -> tuple[float, float]:
    """Seconds an image of one network, the fastest of `given.repeats`, and its peak in GiB."""
    backbone, dtype = made(given).backbone, DTYPES[given.dtype]
    modules = {
        "encoder": [backbone.vae.encoder, backbone.vae.quant_conv],
        "denoiser": [backbone.denoiser],
        "decoder": [backbone.vae.post_quant_conv, backbone.vae.decoder],
    }
    for module in modules[name]:
        module.to(where, dtype, memory_format=torch.channels_last)
    prompt = backbone.prompt["prompt"].to(where, dtype)
    backbone.register_buffer("prompt_prompt", prompt, persistent=False)
    side = given.size // backbone.reduction
    channels = backbone.vae.config.latent_channels
    shape = (3, given.size, given.size) if name == "encoder" else (channels, side, side)
    x = torch.rand(1, *shape, device=where, dtype=dtype)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "encoder": backbone.moments,
        "denoiser": lambda z: backbone.predict(z, 273),
        "decoder": backbone.paint,
    }
    seconds = fastest(lambda: functions[name](x), given.repeats, where)
    return seconds, memory.peak_gib(where)


def speed(
    case: str, batch: int, given: argparse.Namespace, where: torch.device
) -> tuple[float, float]:
    """Seconds an image, from pixels to pixels, and the peak in GiB."""
    generator, precision = made(given, merged=case != "plain"), given.dtype
    work = plain(generator, batch, given.size, precision, where)
    if case != "plain":
        work = ours(generator, batch, given.size, precision, where, compiled=case == "compiled")
    return fastest(work, given.repeats, where) / batch, memory.peak_gib(where)


def ours(
    generator: Generator, batch: int, size: int, dtype: Precision, where: torch.device,
    compiled: bool,
) -> Work:  # fmt: skip
    """OneStep, with the colours of the LQ image."""
    method = OneStep(generator.to(where), dtype=dtype, tile=size)
    if compiled:
        vae = generator.backbone.vae
        for module in (vae.encoder, vae.decoder, generator.backbone.denoiser):
            module.compile()
    rng = np.random.default_rng(0)
    lq = [rng.integers(0, 256, (size // 4, size // 4, 3), dtype=np.uint8) for _ in range(batch)]
    return lambda: method(lq, (size, size))


def plain(
    generator: Generator, batch: int, size: int, dtype: Precision, where: torch.device
) -> Work:
    """The modules of diffusers, one image after the other, as the field's scripts call them."""
    b = generator.backbone.to(where, DTYPES[dtype])
    signal, noise = (float(x[273]) for x in (b.schedule.signal, b.schedule.noise))
    scale, prompt = b.vae.config.scaling_factor, b.prompt["prompt"].to(DTYPES[dtype])

    def work() -> None:
        for _ in range(batch):
            x = torch.rand(1, 3, size, size).to(where, DTYPES[dtype])
            z = b.vae.encode(x * 2 - 1).latent_dist.mode() * scale
            eps = b.denoiser(z, 273, encoder_hidden_states=prompt).sample
            b.vae.decode((z - noise * eps) / signal / scale).sample.clamp(-1, 1).float().cpu()

    return work


def made(given: argparse.Namespace, merged: bool = True) -> Generator:
    """The generator with random weights, for inference alone."""
    generator = build(TINY if given.tiny else FULL).requires_grad_(False)
    return benchmarks.merge(generator) if merged else generator


@torch.inference_mode()
def fastest(work: Work, repeats: int, where: torch.device) -> float:
    """Seconds of the fastest call after one that warms."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        if where.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def alone(function: Callable[..., tuple[float, float]], *given: Any) -> tuple[float, float]:
    """In a process of its own, so that the peak is this case's."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *given).result()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was measured."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.full_size", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--size", type=int, default=512, help="of the result, pixels")
    parser.add_argument("--device", choices=devices.NAMES, default="auto")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: bf16 on CUDA, else fp32")
    parser.add_argument("--repeats", type=int, help="timed calls (default: 20 on CUDA, else 2)")
    parser.add_argument("--speed", action="store_true", help="images a second on a CPU too")
    parser.add_argument("--tiny", action="store_true", help="networks of a few thousand weights")
    given = parser.parse_args(arguments)
    where = devices.pick(given.device)
    gpu = where.type == "cuda"
    given.dtype = given.dtype or ("bf16" if gpu else "fp32")
    given.repeats = given.repeats or (20 if gpu else 2)
    print(f"torch {torch.__version__}, {where}, {torch.get_num_threads()} threads, {given.dtype}")
    for name in PARTS:
        seconds, peak = alone(part, name, given, where)
        print(f"{name:9} {given.size} px: {seconds:8.3f} s, peak {peak:.2f} GiB", flush=True)
    if gpu or given.speed:
        for batch in (1, 8):
            for case in ("ours", "compiled", "plain"):
                seconds, peak = alone(speed, case, batch, given, where)
                told = f"{1 / seconds:8.3f} images/s, peak {peak:.2f} GiB"
                print(f"{case:9} batch {batch}: {told}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

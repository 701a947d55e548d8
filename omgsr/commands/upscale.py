"""Restores images and writes them, as PNG unless --format says otherwise.

Without a model it takes the small run that comes with the package:

  omgsr upscale photo.jpg -o restored

A run of this project carries its timestep, prompt and latents in its card:

  omgsr upscale photo.jpg holiday/ 'scans/**/*.tif' -o restored --model runs/full-auto-0/model

Adapters without a card, such as the official ones for SD2.1-base, need their timestep, and a
foundation of the model they were trained on (`dvc repro foundation` makes one):

  omgsr upscale photo.jpg -o restored --model omgsr-s-512 --foundation foundation --timestep 273

INPUT is an image, a folder (searched at every depth, its tree mirrored), a quoted pattern, or a
.txt list of files. Grey stays grey, 16 bits stay 16 bits, transparency is restored with its image,
colour profile and camera data are carried over, and a rotated photograph comes out upright. Results
that are there already are skipped, so the same command continues after an interruption. An image
that cannot be read is named, the others are restored, and the exit code is 1. How each picture was
made is in omgsr-upscale.json beside the results.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SUFFIXES = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "same": None}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    _images(parser)
    _model(parser)
    _computation(parser)


def _images(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("images").add_argument
    add("input", nargs="*", metavar="INPUT", help="images, folders, quoted patterns, .txt lists")
    add("-i", "--input_image", action="append", default=[], metavar="INPUT", help="the same")
    add("-o", "--output", "--output_dir", type=Path, required=True, metavar="DIR",
        help="folder of the results")  # fmt: skip
    add("--overwrite", action="store_true", help="redo results that are there already")
    add("--format", choices=tuple(SUFFIXES), default="png",
        help="of the results; `same` keeps each input's (default: png)")  # fmt: skip
    add("--quality", type=int, default=95, metavar="N", help="of jpg and webp (default: 95)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", "--upscale", type=float, metavar="X",
                      help="any factor (default: that of the run, 4 without a card)")  # fmt: skip
    size.add_argument("--longest-side", type=int, metavar="PIXELS", help="of the result")


def _model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model").add_argument
    add("--model", type=Path, metavar="PATH",
        help="run folder or adapters (vae_encoder_lora_adapter/ and unet_lora_adapter/, or "
        "vae_encoder_adapter/ and flux_adapter/); with --method the weights of that (default: the "
        "small run of the package)")  # fmt: skip
    add("--method", choices=("omgsr", "bicubic", "lanczos", "realesrgan", "osediff", "pisasr"),
        default="omgsr", help="(default: omgsr)")  # fmt: skip
    add("--foundation", type=Path, default=Path("foundation"), metavar="DIR",
        help="folder that the stage `foundation` wrote (default: foundation)")  # fmt: skip
    add("--timestep", "--mid_timestep", type=int, metavar="N",
        help="for adapters without a card: index into the scheduler's alphas_cumprod, counted from "
        "0 as in the official code, whatever foundation.timestep_origin is; t itself in flow "
        "matching")  # fmt: skip
    add("--prompt", metavar="TEXT", help="instead of the foundation's; needs its text encoder")
    add("--color", "--align_method", choices=("adain", "wavelet", "none", "nofix"),
        default="adain", help="how the colours of the input are kept (default: adain)")  # fmt: skip
    add("--seed", type=int, default=42, metavar="N",
        help="of the latents, where the model samples them (default: 42)")  # fmt: skip


def _computation(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("computation").add_argument
    add("--device", choices=("auto", "cuda", "mps", "cpu"), default="auto",
        help="auto takes a GPU where there is one (default)")  # fmt: skip
    add("--dtype", "--weight_dtype", choices=("fp32", "bf16", "fp16"), default="fp32",
        help="arithmetic of the model (default: fp32)")  # fmt: skip
    add("--quantise", choices=("nf4",),
        help="weights of the denoiser in 4 bits, for a small GPU (default: as in the foundation)")
    add("--offload", action="store_true",
        help="keep the denoiser on the CPU, each layer on the GPU while it computes: less GPU "
        "memory, more time")
    add("--batch", type=int, metavar="N",
        help="images of one size that are restored together. A CPU computes small images one on "
        "each core (default: as many as it has cores; 1 for an image alone on all cores). On a GPU "
        "more are faster, and the last bit of a pixel may then depend on which are together "
        "(default: 1)")  # fmt: skip
    add("--process-size", "--process_size", type=int, metavar="PIXELS",
        help="images whose result is smaller are restored at this size and reduced: what the model "
        "was trained at (default: no; 512 for SD)")  # fmt: skip
    add("--tile", type=int, metavar="PIXELS",
        help="side of the tiles of the result (default: from the free memory)")  # fmt: skip
    add("--overlap", type=int, metavar="PIXELS", help="of tiles (default: a quarter of a tile)")
    add("--view", choices=("image", "tile"), default="image",
        help="what the denoiser sees of a tiled image: also the whole image, reduced (default), or "
        "nothing but the tile, as tiled diffusion and profiles paper and official do")  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Restores what is not there yet; 1 if an image could not be."""
    import torch

    from omgsr.core import devices
    from omgsr.inference.pictures import inputs

    _check(given)
    failed: list[str] = []
    asked = [*given.input, *given.input_image]
    jobs = inputs.plan(asked, given.output, SUFFIXES[given.format], failed)
    todo = {a: b for a, b in jobs.items() if given.overwrite or not b.exists()}
    print(f"{len(jobs)} images, {len(jobs) - len(todo)} of them in {given.output} already")
    if todo:
        where = devices.pick(given.device)
        if given.batch is None:  # by all images: a continued run computes as one that was not
            given.batch = 1 if where.type != "cpu" else min(torch.get_num_threads(), len(jobs))
        settings = {k: v for k, v in vars(given).items() if k not in ("run", "command", "input")}
        with _packaged(given):
            failed += _restore(todo, given, where, settings)
    for line in failed:
        print(f"omgsr upscale: {line}", file=sys.stderr)
    return 1 if failed else 0


def _check(given: argparse.Namespace) -> None:
    if not given.input and not given.input_image:
        raise ValueError("no input: give images, folders, patterns or lists")
    if given.method in ("realesrgan", "osediff", "pisasr") and given.model is None:
        raise ValueError(f"--method {given.method} needs --model, the weights")
    if given.view == "tile" and given.method != "omgsr":
        raise ValueError(f"--view tile is of --method omgsr, got {given.method}; leave it out")
    if given.scale is not None and not 0 < given.scale <= 16:
        raise ValueError(f"--scale: got {given.scale}, allowed: more than 0 and at most 16")
    for name in ("longest_side", "batch", "tile", "process_size"):
        value = getattr(given, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')}: got {value}, allowed: 1 or more")
    if not 1 <= given.quality <= 100:
        raise ValueError(f"--quality: got {given.quality}, allowed: 1 to 100")


@contextmanager
def _packaged(given: argparse.Namespace) -> Iterator[None]:
    """Takes the run of the package where none is named, and says what it is."""
    if given.model is not None or given.method != "omgsr":
        yield
        return
    from omgsr.inference import packaged

    print(f"model: {packaged.about()}")
    with packaged.run() as (given.model, given.foundation):
        yield


def _restore(
    todo: Mapping[Path, Path], given: argparse.Namespace, where: Any, settings: dict[str, Any]
) -> list[str]:
    """Writes the results and the record, with a bar => why images could not be restored."""
    from tqdm import tqdm

    from omgsr.commands import upscale_methods
    from omgsr.inference import streaming
    from omgsr.inference.pictures.journal import Journal

    method, about = upscale_methods.load(given, where)
    factor = given.scale or about["scale"]
    size = streaming.longest(given.longest_side) if given.longest_side else streaming.scaled(factor)
    stream = streaming.Flow(method, size, given.batch, given.quality)
    failed, started = list[str](), time.perf_counter()
    with Journal(given.output, settings, about, method, str(where)) as journal:
        title = f"{given.method} on {where}"
        for one in tqdm(stream.run(todo), total=len(todo), desc=title, unit="image"):
            journal.add(one)
            failed += [one.error] if one.error else []
    speed = len(todo) / (time.perf_counter() - started)
    print(f"{len(todo) - len(failed)} restored, {len(failed)} failed, {speed:.2f} images a second")
    for note in dict.fromkeys(getattr(method, "notes", [])):
        print(f"note: {note}")
    return failed

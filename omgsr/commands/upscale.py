"""`omgsr upscale`: images restored by a trained run or by released adapters."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# What needs torch is imported when the command runs, so that `omgsr --help` answers at once.

NAME, HELP = "upscale", "restore images with a trained run or with released adapters"
DESCRIPTION = """\
Restores images in one step and writes them as PNG, `--scale` times as wide and high.

A run of this project carries its timestep, prompt and latents in its card:

  omgsr upscale photo.jpg holiday/ -o restored --model runs/full-auto/model

Adapters without a card, such as the official ones for SD2.1-base, need their timestep, and a
foundation of the model they were trained on (`dvc repro foundation` makes one; its prompt is used):

  omgsr upscale photo.jpg -o restored --model omgsr-s-512 --foundation foundation --timestep 273

Folders are searched at every depth. Images that are in the output folder already are skipped, so
the same command continues after an interruption. An image that cannot be read is named, the others
are restored, and the exit code is 1."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("input", nargs="+", type=Path, help="images and folders of images")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="folder for <name>.png"
    )
    parser.add_argument(
        "--model", type=Path, required=True, metavar="DIR",
        help="folder with vae_encoder_lora_adapter/, unet_lora_adapter/ and, of a run, omgsr.json",
    )  # fmt: skip
    parser.add_argument(
        "--foundation", type=Path, default=Path("foundation"), metavar="DIR",
        help="folder that the stage `foundation` wrote (default: foundation)",
    )  # fmt: skip
    parser.add_argument(
        "--timestep", type=int, metavar="N",
        help="for adapters without a card: index into the scheduler's alphas_cumprod, counted from "
        "0 as in the official code, whatever foundation.timestep_origin is",
    )  # fmt: skip
    parser.add_argument(
        "--scale", type=int, choices=range(1, 9), metavar="N",
        help="1 to 8 (default: what the run was trained for, 4 without a card)",
    )  # fmt: skip
    parser.add_argument(
        "--color", choices=("adain", "wavelet", "none"), default="adain",
        help="how the colours of the input are kept (default: adain)",
    )  # fmt: skip
    parser.add_argument(
        "--device", choices=("auto", "cuda", "cpu"), default="auto",
        help="auto takes CUDA where there is one (default)",
    )  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Restores what is not there yet; 1 if an image could not be."""
    wanted = outputs(collect(given.input, given.output), given.output)
    todo = {path: out for path, out in wanted.items() if not out.exists()}
    images = "image" if len(wanted) == 1 else "images"
    print(f"{len(wanted)} {images}, {len(wanted) - len(todo)} of them in {given.output} already")
    failed = list(_restore(todo, given)) if todo else []
    for message in failed:
        print(f"omgsr upscale: {message}", file=sys.stderr)
    return 1 if failed else 0


def collect(inputs: Iterable[Path], output: Path) -> list[Path]:
    """The image files of all inputs, each once; a folder's own outputs are left out."""
    from omgsr import images

    found: dict[Path, Path] = {}
    for path in inputs:
        if path.is_dir():
            inside = [p for p in images.list_images(path) if not _within(p, output)]
        elif path.exists():
            inside = [path]
        else:
            raise images.ImageError(f"{path}: no such image or folder")
        for image in inside:
            found.setdefault(image.resolve(), image)
    return list(found.values())


def outputs(paths: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """<folder>/<stem>.png of every path; two inputs for one output are refused, and so is itself.

    Names that differ in case alone are one name to some file systems.
    """
    wanted: dict[Path, Path] = {}
    taken: dict[str, Path] = {}
    for path in paths:
        out = folder / f"{path.stem}.png"
        other = taken.setdefault(out.name.casefold(), path)
        if other != path:
            raise ValueError(
                f"{other} and {path} would both be written to {out}; rename one of them, or "
                "restore them into two folders"
            )
        if out.resolve() == path.resolve():
            raise ValueError(f"{path} is what its result would be named; give another folder to -o")
        wanted[path] = out
    return wanted


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _restore(todo: dict[Path, Path], given: argparse.Namespace) -> Iterator[str]:
    """Writes every output and yields a message for each image that it could not restore."""
    import torch
    from tqdm import tqdm

    from omgsr import device, images, inference, runs

    where = device.pick(given.device)
    generator, card = runs.load(given.model, given.foundation, given.timestep)
    generator = inference.merge(generator).to(where)
    scale = given.scale or (card.scale if card else 4)
    for path, out in tqdm(todo.items(), desc=f"x{scale} on {where}", unit="image"):
        try:
            restored = inference.restore(generator, images.read_rgb(path), scale, given.color)
        except images.ImageError as error:
            yield str(error)
        except torch.OutOfMemoryError:
            yield f"{path}: too large for the memory of {where} at scale {scale}; use --device cpu"
        else:
            images.write_png(out, restored)

"""Images between files, uint8 arrays (H, W, 3) and tensors (3, H, W) in [-1, 1]."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from omgsr import files

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
MAX_PIXELS = 100_000_000
"""Largest image read by default; the environment variable OMGSR_MAX_PIXELS overrides it."""

# What Pillow's decoders raise on damaged files, read from its plugins.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N"}
_LATE = re.compile(rb"eXIf|Raw profile type|tiff:Orientation")
_pillow = threading.Lock()


class ImageError(ValueError):
    """An image file that cannot be used; the message names the file and what to do."""


def read_rgb(path: Path | str) -> NDArray[np.uint8]:
    """Any still image file => uint8 (H, W, 3) RGB, upright.

    Grey is repeated, alpha is composited on white, 16-bit grey is scaled by 1/257 (16-bit colour
    keeps its high byte), CMYK and palettes are converted, and the EXIF orientation is applied. An
    ImageError names a file that is missing, empty, damaged, animated, too large or without a
    defined 8-bit form.
    """
    with _opened(path) as image:
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image), image.format, path)


def read_size(path: Path | str) -> tuple[int, int]:
    """Height and width of what `read_rgb` gives, pixels, without decoding the image.

    The same files are refused, except those that are damaged after their header.
    """
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if _lies(image, path) else (height, width)


def write_png(path: Path | str, array: NDArray[np.uint8]) -> None:
    """uint8 (H, W, 3) or (H, W) => PNG with fixed settings: equal pixels give equal bytes."""
    if array.dtype != np.uint8:
        raise ValueError(f"{path}: a PNG takes uint8 pixels, got {array.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=6, optimize=False)
    files.write_bytes(path, buffer.getvalue())


def upscale(array: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """Bicubic, as Pillow computes it: uint8 (H, W, 3) => (scale H, scale W, 3)."""
    height, width = array.shape[:2]
    size = (width * scale, height * scale)
    return np.array(Image.fromarray(array).resize(size, Image.Resampling.BICUBIC))


def to_tensor(array: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (H, W, 3) => float32 (3, H, W) in [-1, 1]."""
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(f"expected uint8 (H, W, 3), got {array.dtype} {array.shape}")
    pixels = torch.from_numpy(np.ascontiguousarray(array)).permute(2, 0, 1)
    return pixels.float().div(127.5).sub(1).contiguous()


def to_array(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Tensor (3, H, W) in [-1, 1] => uint8 (H, W, 3), clamped and rounded to the nearest."""
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise ValueError(f"expected (3, H, W), got {tuple(tensor.shape)}")
    levels = tensor.detach().float().add(1).mul(127.5).clamp(0, 255).round()
    return levels.to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def list_images(folder: Path | str) -> list[Path]:
    """Every image file under `folder`, at any depth, sorted; hidden names are left out."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    # os.walk follows links to folders, as data sets are often assembled from such links.
    found = [
        Path(base, name)
        for base, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS)
        and not any(part.startswith(".") for part in Path(base, name).relative_to(folder).parts)
    ]
    if not found:
        raise ImageError(
            f"{folder}: holds no image; looked at every depth for {' '.join(EXTENSIONS)}"
        )
    return sorted(found)


def _to_rgb(image: Image.Image, kind: str | None, path: Path | str) -> NDArray[np.uint8]:
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and kind == "PNG"):
        grey = np.asarray(image).astype(np.uint32)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{path}: pixels are 32-bit ({image.mode}), whose white is not defined; "
            "convert the file to 8 or 16 bits"
        )
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """An image of which the header is read; whatever is wrong with it is an ImageError."""
    try:
        with _open(path) as image:
            _check(image, path)
            yield image
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such image file") from error
    except _DAMAGE as error:
        raise ImageError(f"{path}: {_damage(path, error)}") from error


def _lies(image: Image.Image, path: Path | str) -> bool:
    """Whether the orientation in the file exchanges height and width."""
    if image.format == "TIFF":  # Pillow has exchanged them already
        return False
    if image.format == "PNG" and not _LATE.search(_tail(path)):
        # The getexif of a PNG decodes all of it, as the orientation may come after the pixels.
        exif = Image.Image.getexif(image)
    else:
        exif = image.getexif()
    return exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)


def _tail(path: Path | str) -> bytes:
    with open(path, "rb") as handle:
        handle.seek(max(0, os.path.getsize(path) - 2**16))
        return handle.read()


def _check(image: Image.Image, path: Path | str) -> None:
    pixels, limit = image.width * image.height, _limit()
    if pixels > limit:
        raise ImageError(
            f"{path}: {image.width} x {image.height} is {pixels:,} pixels, over the limit of "
            f"{limit:,}; set OMGSR_MAX_PIXELS={pixels} to read it"
        )
    frames = getattr(image, "n_frames", 1)
    # A phone's MPO is a photograph followed by previews of it: the first picture is the image.
    if frames > 1 and image.format != "MPO":
        raise ImageError(
            f"{path}: holds {frames} frames or pages, a still image is needed; save one of them"
        )


@contextmanager
def _open(path: Path | str) -> Iterator[Image.Image]:
    """Image.open without Pillow's own size limit, which cannot be raised for one call."""
    with _pillow:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    # By its name, Pillow 13 maps a plain TIFF into memory, with wrong rows if it is turned.
    image.filename = ""
    with image:
        yield image


def _limit() -> int:
    text = os.environ.get("OMGSR_MAX_PIXELS", str(MAX_PIXELS))
    if not text.isdecimal():
        raise ImageError(f"OMGSR_MAX_PIXELS must be a whole number of pixels, got {text!r}")
    return int(text)


def _damage(path: Path | str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {error.strerror}"
    if os.path.getsize(path) == 0:
        return "is empty (0 bytes); replace the file or take it out of the folder"
    return (
        f"is damaged or not an image that Pillow reads ({error}); "
        "replace or convert the file, or take it out of the folder"
    )

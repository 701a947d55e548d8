"""Images between files, uint8 arrays (H, W, 3) and tensors (3, H, W) in [-1, 1]."""

import io
import os
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from omgsr.core import files, image_files, pixel_formats
from omgsr.core.image_files import ImageError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def read_rgb(path: Path | str) -> NDArray[np.uint8]:
    """Any still image file => uint8 (H, W, 3) RGB, upright.

    Grey is repeated, alpha is composited on white, deep grey is scaled to 8 bits (16-bit colour
    keeps its high byte), CMYK goes through its profile, palettes are converted, and the EXIF
    orientation is applied. An ImageError names a file that is missing, empty, damaged, animated,
    too large or without a defined 8-bit form.
    """
    with image_files.opened(path) as image:
        image.load()
        if pixel_formats.is_deep_grey(image):
            return _reduced(*pixel_formats.deep_grey(image))
        shown = pixel_formats.eight_bits(image, path)
        if shown.mode == "RGBA":
            shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
        return np.array(shown.convert("RGB"))


def read_size(path: Path | str) -> tuple[int, int]:
    """Height and width of what `read_rgb` gives, pixels, without decoding the image.

    The same files are refused, except those that are damaged after their header.
    """
    with image_files.opened(path) as image:
        width, height = image.size
        return (width, height) if image_files.lies(image, path) else (height, width)


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


def list_images(folder: Path | str, locked: list[Path] | None = None) -> list[Path]:
    """Every image file under `folder`, at any depth, sorted; hidden names are left out.

    Folders that may not be read are added to `locked`; without it they are an ImageError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder}: no such folder")
    shut: list[OSError] = []
    # os.walk follows links to folders, as data sets are often assembled from such links.
    found = [
        Path(base, name)
        for base, _, names in os.walk(folder, onerror=shut.append, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS) and not _hidden(Path(base, name), folder)
    ]
    shut = [error for error in shut if not _hidden(Path(error.filename), folder)]
    if shut and locked is None:
        raise ImageError(f"{shut[0].filename}: cannot be read: {shut[0].strerror}")
    if locked is not None:
        locked += [Path(error.filename) for error in shut]
    if not found and not shut:
        raise ImageError(
            f"{folder}: holds no image; looked at every depth for {' '.join(EXTENSIONS)}"
        )
    return sorted(found)


def _hidden(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return any(part.startswith(".") or part == "lost+found" for part in parts)  # of a file system


def _reduced(grey: NDArray[np.uint16], alpha: NDArray[np.uint16] | None) -> NDArray[np.uint8]:
    """Deep grey (h, w), its transparent level white => uint8 (h, w, 3)."""
    shown = grey if alpha is None else np.where(alpha, grey, np.uint16(65535))
    levels = (shown.astype(np.uint32) + 128) // 257
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=2)

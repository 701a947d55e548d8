"""Image files written: the same bits, channels, profile, EXIF, XMP and dpi that were read."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from omgsr.core import files
from omgsr.inference.pictures import deep_files, metadata
from omgsr.inference.pictures.still_image import Picture

Floats = NDArray[np.float32]
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_ALPHA = {"PNG", "WEBP", "TIFF"}
_DEEP = {"PNG", "TIFF"}
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383}  # pixels along one side, of libjpeg and libwebp
_SEGMENT = 2**16 - 3  # bytes of a JPEG's, at most
_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"  # with which XMP begins there


def write(
    path: Path | str,
    picture: Picture,
    colour: Floats,
    alpha: Floats | None = None,
    quality: int = 95,
) -> None:
    """Restored colour (H, W, 3) and alpha (H, W) in [0, 1] => the file that `path` ends in.

    Bits, grey, profile, EXIF, XMP and dpi are those of `picture`: 16 bits in PNG and TIFF, else 8;
    one channel for grey (not in WebP, nor in TIFF with alpha of 16 bits); BMP has dpi alone.
    `quality` is that of JPEG and WebP. Equal arguments give equal bytes, and the file is whole or
    absent. A profile of grey is left out where three channels are written, and EXIF or XMP of over
    64 KiB is left out of a JPEG. A ValueError names what the format does not take.
    """
    kind = _format(Path(path), colour, alpha)
    deep = picture.colour.dtype == np.uint16 and kind in _DEEP
    levels = _levels(path, colour, alpha, picture.grey, deep)
    if deep and kind == "TIFF" and levels.shape[2:] == (2,):
        levels = levels[..., [0, 0, 0, 1]]  # such a TIFF Pillow does not read, and OpenCV in 8 bits
    if picture.grey and (kind == "WEBP" or levels.shape[2:] == (4,)):
        picture = replace(picture, icc=None)  # a profile of grey, in a file of three channels
    if kind == "TIFF":
        data = deep_files.tiff(levels, picture)
    elif deep and levels.ndim == 3:
        data = deep_files.png(levels, picture)
    else:
        data = _encoded(levels, kind, picture, quality)
    files.write_bytes(path, data)


def _format(path: Path, colour: NDArray[Any], alpha: NDArray[Any] | None) -> str:
    """Pillow's name of the format; what it does not take is refused."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path}: images are written as {' '.join(FORMATS)}, not {path.suffix!r}")
    if alpha is not None and kind not in _ALPHA:
        raise ValueError(f"{path}: {kind} holds no alpha; write a .png, .webp or .tif")
    if max(colour.shape) > _LONGEST.get(kind, 2**31):
        raise ValueError(
            f"{path}: {kind} takes at most {_LONGEST[kind]:,} pixels along a side, got "
            f"{colour.shape[1]} x {colour.shape[0]}; write a .png or .tif"
        )
    return kind


def _levels(
    path: Path | str, colour: Floats, alpha: Floats | None, grey: bool, deep: bool
) -> NDArray[Any]:
    """Whole numbers (H, W) or (H, W, channels), alpha last."""
    if colour.ndim != 3 or colour.shape[2] != 3:
        raise ValueError(f"{path}: colour must be (H, W, 3), got {colour.shape}")
    if alpha is not None and alpha.shape != colour.shape[:2]:
        raise ValueError(f"{path}: alpha must be {colour.shape[:2]} as colour, got {alpha.shape}")
    if grey:
        colour = colour.mean(axis=2, keepdims=True)
    planes = colour if alpha is None else np.concatenate([colour, alpha[..., None]], axis=2)
    if not np.isfinite(planes).all():
        raise ValueError(f"{path}: the restored image holds NaN or infinity; nothing was written")
    kind, top = (np.uint16, 65535) if deep else (np.uint8, 255)
    levels = np.rint(np.clip(planes, 0, 1) * np.float32(top)).astype(kind)
    return levels[..., 0] if levels.shape[2] == 1 else levels


def _encoded(levels: NDArray[Any], kind: str, picture: Picture, quality: int) -> bytes:
    """A file by Pillow, which takes 8 bits, and 16 of grey alone."""
    settings: dict[str, dict[str, Any]] = {
        "PNG": {"compress_level": 6, "optimize": False},
        "JPEG": {"quality": quality, "subsampling": 0},
        "WEBP": {"quality": quality, "exact": True},
        "BMP": {},
    }
    options = settings[kind]
    if picture.dpi:
        options["dpi"] = picture.dpi
    if kind != "BMP":
        options |= _said(kind, picture)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels)).save(buffer, kind, **options)
    return buffer.getvalue()


def _said(kind: str, picture: Picture) -> dict[str, Any]:
    """Pillow's options for what stands beside the pixels."""
    exif = _with_dpi(picture) if kind == "WEBP" else picture.exif
    xmp = picture.xmp
    said: dict[str, Any] = {"icc_profile": picture.icc} if picture.icc else {}
    if exif and not (kind == "JPEG" and len(exif) > _SEGMENT):
        said["exif"] = exif
    if xmp and kind == "PNG":
        said["pnginfo"] = PngImagePlugin.PngInfo()
        said["pnginfo"].add_itxt(deep_files.XMP, xmp.decode())
    elif xmp and not (kind == "JPEG" and len(xmp) > _SEGMENT - len(_XMP_MARK)):
        said["xmp"] = xmp
    return said


def _with_dpi(picture: Picture) -> bytes | None:
    """EXIF that says the dpi too, which WebP has no other place for."""
    if picture.dpi is None:
        return picture.exif
    exif = Image.Exif()
    if picture.exif:
        exif.load(picture.exif)
    exif.update(zip(metadata.RESOLUTION, (*picture.dpi, 2), strict=True))
    return exif.tobytes()

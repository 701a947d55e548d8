"""Still images with all that survives a restoration: 16 bits, alpha, grey, profile, EXIF, XMP."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from omgsr.core import image_files, pixel_formats
from omgsr.inference.pictures import metadata
from omgsr.inference.pictures.metadata import ORIENTATION

Pixels = NDArray[Any]
Alpha = Pixels | None
_GREY = (0, 4)  # PNG's colour types without and with alpha
_BITS = 258  # TIFF's tag


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One still image, upright, and what its file says beside the pixels.

    colour: uint8 or uint16 (h, w, 3) RGB; alpha: the same type (h, w), or None; grey: the file has
    one channel, repeated in colour; icc: profile of these channels; exif: with its `Exif` header,
    without orientation, sizes, thumbnail and maker notes; xmp: a packet of orientation 1, without
    sizes; dpi: pixels per inch along x and y.
    """

    colour: Pixels
    alpha: Alpha = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


def read(path: Path | str) -> Picture:
    """Any still image file of 8 or 16 bits per channel => Picture.

    One bit becomes 0 and 255, palettes RGB, and CMYK sRGB through its profile, which it loses. An
    ImageError names a file that is missing, empty, damaged, animated, too large
    (OMGSR_MAX_PIXELS) or of 32 bits, and says what to do.
    """
    with image_files.opened(path) as image:
        # A TIFF is turned by Pillow as it is loaded; a PNG may hold its EXIF after the pixels.
        before = image.getexif().get(ORIENTATION, 1) if image.format == "TIFF" else None
        image.load()  # finds what is damaged, which OpenCV passes over
        exif = image.getexif()
        turn = before or exif.get(ORIENTATION, 1)
        colour, alpha, grey = _pixels(image, path, turn)
        return Picture(
            colour=colour,
            alpha=alpha,
            grey=grey,
            icc=metadata.profile(image.info.get("icc_profile"), grey, image.mode),
            exif=metadata.described(exif),
            xmp=metadata.packet(image.info.get("xmp")),
            dpi=metadata.density(image.info.get("dpi"), exif, turn),
        )


def _pixels(image: Image.Image, path: Path | str, turn: int) -> tuple[Pixels, Alpha, bool]:
    """Colour, alpha, and whether the file has one channel for colour."""
    if pixel_formats.is_deep_grey(image):
        levels, clear = pixel_formats.deep_grey(image)
        return np.repeat(levels[..., None], 3, axis=2), clear, True
    bits, one_channel = _layout(image, path)
    if bits == 16 and image.mode != "I":
        return *_decoded(path, image, turn), one_channel
    shown = pixel_formats.eight_bits(image, path)
    pixels = np.array(shown)
    alpha = pixels[..., 3].copy() if shown.mode == "RGBA" else None
    return pixels[..., :3].copy(), alpha, one_channel


def _layout(image: Image.Image, path: Path | str) -> tuple[int, bool]:
    """Bits per channel, 8 or 16, and whether it is grey: Pillow gives some files of 16 bits 8."""
    if image.format == "PNG":
        with open(path, "rb") as handle:
            bits, kind = handle.read(26)[24:]  # of IHDR, after width and height
        return (16 if bits == 16 else 8), kind in _GREY
    grey = image.mode in ("1", "L", "LA", "La")
    deep = isinstance(image, TiffImageFile) and 16 in image.tag_v2.get(_BITS, ())
    return (16 if deep else 8), grey


def _decoded(path: Path | str, image: Image.Image, turn: int) -> tuple[Pixels, Alpha]:
    """Colour and alpha of 16 bits by OpenCV, which keeps them."""
    data = bytearray(Path(path).read_bytes())
    if image.format == "TIFF" and turn != 1:
        _straighten(data)
    pixels: Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    refused = image_files.ImageError(
        f"{path}: this layout of 16 bits is not read; save the image as a 16-bit PNG"
    )
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] < 3:
        raise refused
    pixels = _turned(pixels, turn)
    colour: NDArray[np.uint16] = np.ascontiguousarray(pixels[..., 2::-1])
    # Planes apart, colour multiplied by alpha and CMYK are other pixels to OpenCV than to Pillow.
    if not np.array_equal(colour >> 8, np.asarray(ImageOps.exif_transpose(image).convert("RGB"))):
        raise refused
    return colour, pixels[..., 3].copy() if pixels.shape[2] == 4 else None


def _straighten(data: bytearray) -> None:
    """Sets a TIFF's orientation to 1, in place: OpenCV turns some of them and fails on others."""
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", data, 2)[0] == 43  # BigTIFF
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
    first, step, value = (start + 8, 20, 12) if big else (start + 2, 12, 8)
    for entry in range(first, first + count * step, step):
        if struct.unpack_from(order + "H", data, entry)[0] == ORIENTATION:
            struct.pack_into(order + "H", data, entry + value, 1)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Upright pixels of an EXIF orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels

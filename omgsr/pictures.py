"""Still images with all that survives a restoration: 16 bits, alpha, grey, profile, EXIF, dpi."""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from omgsr import files, images

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
_ORIENTATION = ExifTags.Base.Orientation
_ALPHA = {"PNG", "WEBP", "TIFF"}
_DEEP = {"PNG", "TIFF"}
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383}  # pixels along one side, of libjpeg and libwebp

# What a photograph says of itself. All else in EXIF describes the file that was read: its
# strips, its orientation, its thumbnail.
_KEPT = {270, 271, 272, 305, 306, 315, 316, 18246, 33432, *range(40091, 40096)}
_FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_STALE = {0xA002, 0xA003, 0xA005, 0x927C}  # width, height, interoperability, maker's offsets


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One still image, upright, and what its file says beside the pixels.

    colour: uint8 or uint16 (h, w, 3) RGB; alpha: the same type (h, w), or None; grey: the file has
    one channel, repeated in colour; icc: profile of these channels; exif: with its `Exif` header,
    without orientation, sizes, thumbnail and maker notes; dpi: pixels per inch along x and y.
    """

    colour: NDArray[Any]
    alpha: NDArray[Any] | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None
    dpi: tuple[float, float] | None = None


def read(path: Path | str) -> Picture:
    """Any still image file of 8 or 16 bits per channel => Picture.

    One bit becomes 0 and 255, palettes and CMYK become RGB (CMYK loses its profile, which is not
    of RGB). An images.ImageError names a file that is missing, empty, damaged, animated, too large
    (OMGSR_MAX_PIXELS) or of 32 bits, and says what to do.
    """
    with images._opened(path) as image:
        # A TIFF is turned by Pillow as it is loaded; a PNG may hold its EXIF after the pixels.
        before = image.tag_v2.get(_ORIENTATION, 1) if isinstance(image, TiffImageFile) else None
        image.load()  # finds what is damaged, which OpenCV passes over
        exif = image.getexif()
        turn = before or exif.get(_ORIENTATION, 1)
        if _deep(image, path) and image.mode not in (*images._SIXTEEN_BIT, "I"):
            colour, alpha = _decoded(path, image, turn)
        else:
            colour, alpha = _converted(image, path)
        grey = image.mode in ("1", "L", "LA", "La", "I", *images._SIXTEEN_BIT)
        return Picture(
            colour=colour,
            alpha=alpha,
            grey=grey,
            icc=_profile(image.info.get("icc_profile"), grey, image.mode),
            exif=_described(exif),
            dpi=_density(image.info.get("dpi"), turn),
        )


def can_write(suffix: str, picture: Picture) -> bool:
    """Whether `write` takes a file of this suffix for the picture, with its alpha."""
    kind = FORMATS.get(suffix.lower())
    return kind is not None and (picture.alpha is None or kind in _ALPHA)


def write(
    path: Path | str,
    picture: Picture,
    colour: NDArray[np.float32],
    alpha: NDArray[np.float32] | None = None,
    quality: int = 95,
) -> None:
    """Restored colour (H, W, 3) and alpha (H, W) in [0, 1] => the file that `path` ends in.

    Bits, grey, profile, EXIF and dpi are those of `picture`: 16 bits in PNG and TIFF, else 8; one
    channel for grey (not in WebP, nor with alpha of 16 bits); BMP has dpi alone, and WebP no dpi.
    `quality` is that of JPEG and WebP. Equal arguments give equal bytes, and the file is whole or
    absent. A profile of grey is left out where three channels are written, and EXIF of over 64 KiB
    is left out of a JPEG. A ValueError names what the format does not take.
    """
    kind = _format(Path(path), colour, alpha)
    deep = picture.colour.dtype == np.uint16 and kind in _DEEP
    levels = _levels(path, colour, alpha, picture.grey, np.uint16 if deep else np.uint8)
    if deep and levels.ndim == 3 and levels.shape[2] == 2:
        levels = levels[..., [0, 0, 0, 1]]  # no library reads these in both formats
    if picture.grey and (kind == "WEBP" or levels.shape[2:] == (4,)):
        picture = replace(picture, icc=None)  # a profile of grey, in a file of three channels
    if kind == "TIFF":
        data = _tiff(levels, picture)
    elif deep and levels.ndim == 3:
        data = _deep_png(levels, picture)
    else:
        data = _encoded(levels, kind, picture, quality)
    files.write_bytes(path, data)


# Reading


def _deep(image: Image.Image, path: Path | str) -> bool:
    """Whether the file has 16 bits per channel; Pillow gives colour of such files 8."""
    if image.format == "PNG":
        with open(path, "rb") as handle:
            return handle.read(25)[24:] == b"\x10"  # IHDR: width, height, then the bits
    return isinstance(image, TiffImageFile) and 16 in image.tag_v2.get(258, ())


def _decoded(
    path: Path | str, image: Image.Image, turn: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colour and alpha of 16 bits by OpenCV, which keeps them."""
    data = bytearray(Path(path).read_bytes())
    if image.format == "TIFF" and turn != 1:
        _straighten(data)
    pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    refused = images.ImageError(
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
        if struct.unpack_from(order + "H", data, entry)[0] == _ORIENTATION:
            struct.pack_into(order + "H", data, entry + value, 1)


def _turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Upright pixels of an EXIF orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _converted(image: Image.Image, path: Path | str) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Colour and alpha as Pillow decodes them."""
    if image.mode in images._SIXTEEN_BIT or (image.mode == "I" and image.format == "PNG"):
        return _grey(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "F"):
        raise images.ImageError(
            f"{path}: pixels are 32-bit ({image.mode}), whose white is not defined; "
            "convert the file to 8 or 16 bits"
        )
    if image.has_transparency_data:
        pixels = np.array(image.convert("RGBA"))
        return pixels[..., :3].copy(), pixels[..., 3].copy()
    return np.array(image.convert("RGB")), None


def _grey(image: Image.Image) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """16-bit grey in three channels, and the alpha of its one transparent level."""
    grey = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
    clear = image.info.get("transparency")
    alpha = None if clear is None else np.where(grey == clear, 0, 65535).astype(np.uint16)
    if isinstance(image, TiffImageFile):
        white = 2 ** image.tag_v2.get(258, (16,))[0] - 1  # scanners save 12 bits
        grey = np.rint(grey * (65535 / white)).astype(np.uint16)
        if image.tag_v2.get(262) == 0:  # white is 0, which Pillow minds in 8 bits alone
            grey = 65535 - grey
    return np.repeat(grey[..., None], 3, axis=2), alpha


def _profile(icc: bytes | None, grey: bool, mode: str) -> bytes | None:
    """The ICC profile if it is one of the channels that are kept."""
    space = b"GRAY" if grey else b"RGB "
    return icc if icc and len(icc) > 128 and icc[16:20] == space and mode != "CMYK" else None


def _described(exif: Image.Exif) -> bytes | None:
    """What EXIF says of the photograph; None where it says nothing or is broken."""
    kept = Image.Exif()
    try:
        kept.update({tag: value for tag, value in exif.items() if tag in _KEPT})
        for number in _FOLDERS:
            tags = {tag: value for tag, value in exif.get_ifd(number).items() if tag not in _STALE}
            if tags:
                kept[number] = tags
        return kept.tobytes() if len(kept) else None
    except (*images._DAMAGE, TypeError, KeyError, AttributeError):
        return None


def _density(dpi: Any, turn: int) -> tuple[float, float] | None:
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and 1 <= value < 2**16 for value in (x, y)):
        return None
    return (y, x) if turn in (5, 6, 7, 8) else (x, y)


# Writing


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
    path: Path | str,
    colour: NDArray[np.float32],
    alpha: NDArray[np.float32] | None,
    grey: bool,
    kind: type[np.uint8] | type[np.uint16],
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
    top = np.iinfo(kind).max
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
    if picture.icc and kind != "BMP":
        options["icc_profile"] = picture.icc
    if picture.exif and kind != "BMP" and (kind != "JPEG" or len(picture.exif) < 2**16 - 2):
        options["exif"] = picture.exif
    if picture.dpi:
        options["dpi"] = picture.dpi
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(levels)).save(buffer, kind, **options)
    return buffer.getvalue()


def _deep_png(levels: NDArray[np.uint16], picture: Picture) -> bytes:
    """A PNG of 16 bits by OpenCV; the rest is put in as chunks before the pixels."""
    order = [2, 1, 0, 3][: levels.shape[2]]  # OpenCV's
    data = cv2.imencode(".png", np.ascontiguousarray(levels[..., order]))[1].tobytes()
    chunks = b""
    if picture.icc:
        chunks += _chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc))
    if picture.dpi:
        x, y = (round(value / 0.0254) for value in picture.dpi)
        chunks += _chunk(b"pHYs", struct.pack(">IIB", x, y, 1))
    if picture.exif:
        chunks += _chunk(b"eXIf", picture.exif.removeprefix(b"Exif\0\0"))
    header = 8 + 25  # signature and IHDR
    return data[:header] + chunks + data[header:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def _tiff(levels: NDArray[Any], picture: Picture) -> bytes:
    """A TIFF of one strip: the 8 bytes of a header, the tags, the pixels.

    Pillow writes no colour of 16 bits, nor EXIF beside compressed pixels; OpenCV writes no tags.
    """
    height, width, channels = levels.shape if levels.ndim == 3 else (*levels.shape, 1)
    strip = zlib.compress(levels.astype(levels.dtype.newbyteorder("<")).tobytes())
    tags = ImageFileDirectory_v2(b"II*\0\0\0\0\0")
    if picture.exif:
        kept = Image.Exif()
        kept.load(picture.exif)
        for tag, value in kept.items():
            tags[tag] = kept.get_ifd(tag) if tag in _FOLDERS else value
    tags[256], tags[257], tags[258] = width, height, (8 * levels.itemsize,) * channels
    tags[259], tags[262] = 8, 2 if channels > 2 else 1  # deflate; RGB or grey, black is 0
    tags[277], tags[278], tags[279], tags[284] = channels, height, len(strip), 1
    if channels in (2, 4):
        tags[338] = 2  # alpha that colour is not multiplied by
    if picture.dpi:
        tags[282], tags[283], tags[296] = *picture.dpi, 2
    if picture.icc:
        tags[34675] = picture.icc
    tags[273] = 0  # where the strip starts, from the end of the tags
    return struct.pack("<2sHI", b"II", 42, 8) + tags.tobytes(8) + strip

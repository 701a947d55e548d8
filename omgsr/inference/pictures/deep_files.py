"""PNG of 16 bits and TIFF, put together here: no library writes them with what goes along.

tifffile has no argument for an EXIF or GPS folder, OpenCV none for dpi and no grey with alpha.
"""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import putchunk
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from omgsr.inference.pictures import metadata
from omgsr.inference.pictures.still_image import Picture

XMP = "XML:com.adobe.xmp"
"""Keyword of XMP in a PNG."""


def png(levels: NDArray[np.uint16], picture: Picture) -> bytes:
    """A PNG of 16 bits and two to four channels; the rest is put in as chunks before the pixels."""
    if levels.shape[2] == 2:
        data = _grey_alpha_png(levels)
    else:
        order = [2, 1, 0, 3][: levels.shape[2]]  # OpenCV's
        data = cv2.imencode(".png", np.ascontiguousarray(levels[..., order]))[1].tobytes()
    out, header = io.BytesIO(), 8 + 25  # signature and IHDR
    out.write(data[:header])
    if picture.icc:
        putchunk(out, b"iCCP", b"ICC Profile\0\0", zlib.compress(picture.icc))
    if picture.dpi:
        x, y = (round(value / 0.0254) for value in picture.dpi)
        putchunk(out, b"pHYs", struct.pack(">IIB", x, y, 1))
    if picture.exif:
        putchunk(out, b"eXIf", picture.exif.removeprefix(b"Exif\0\0"))
    if picture.xmp:
        putchunk(out, b"iTXt", XMP.encode(), bytes(5), picture.xmp)
    return out.getvalue() + data[header:]


def _grey_alpha_png(levels: NDArray[np.uint16]) -> bytes:
    """16-bit grey and alpha (H, W, 2), colour type 4: Pillow and OpenCV read it, neither writes it.

    Every row is the difference to its left neighbour, PNG's filter 1.
    """
    height, width = levels.shape[:2]
    rows = np.ascontiguousarray(levels.astype(">u2")).view(np.uint8).reshape(height, -1)
    lines = np.ones((height, 1 + rows.shape[1]), np.uint8)
    lines[:, 1:5] = rows[:, :4]
    np.subtract(rows[:, 4:], rows[:, :-4], out=lines[:, 5:])
    out = io.BytesIO()
    out.write(b"\x89PNG\r\n\x1a\n")
    putchunk(out, b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0))
    putchunk(out, b"IDAT", zlib.compress(lines.tobytes()))
    putchunk(out, b"IEND")
    return out.getvalue()


def tiff(levels: NDArray[Any], picture: Picture) -> bytes:
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
            tags[tag] = kept.get_ifd(tag) if tag in metadata.FOLDERS else value
    tags[256], tags[257], tags[258] = width, height, (8 * levels.itemsize,) * channels
    tags[259], tags[262] = 8, 2 if channels > 2 else 1  # deflate; RGB or grey, black is 0
    tags[277], tags[278], tags[279], tags[284] = channels, height, len(strip), 1
    if channels in (2, 4):
        tags[338] = 2  # alpha that colour is not multiplied by
    if picture.dpi:
        tags[282], tags[283], tags[296] = *picture.dpi, 2
    if picture.icc:
        tags[34675] = picture.icc
    if picture.xmp:
        tags[700] = picture.xmp
    tags[273] = 0  # where the strip starts, from the end of the tags
    return struct.pack("<2sHI", b"II", 42, 8) + tags.tobytes(8) + strip

"""Image files, opened: what is wrong with one is an ImageError that names it and what to do."""

import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import TiffImageFile

MAX_PIXELS = 100_000_000
"""Largest image read by default; the environment variable OMGSR_MAX_PIXELS overrides it."""
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What Pillow's decoders raise on damaged files, read from its plugins."""

_LATE = re.compile(rb"eXIf|Raw profile type|tiff:Orientation")
_pillow = threading.Lock()


class ImageError(ValueError):
    """Images, or a list of them, that cannot be used; the message names them and what to do."""


@contextmanager
def opened(path: Path | str) -> Iterator[Image.Image]:
    """An image of which the header is read; whatever is wrong with it is an ImageError."""
    try:
        # Pillow's own size limit cannot be raised for one call.
        with _pillow, patch.object(Image, "MAX_IMAGE_PIXELS", None):
            image = Image.open(path)
        # By its name, Pillow 13 maps a plain TIFF into memory, with wrong rows if it is turned.
        image.filename = ""
        with image:
            _check(image, path)
            yield image
    except ImageError:
        raise
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such image file") from error
    except DAMAGE as error:
        raise ImageError(f"{path}: {_damage(path, error)}") from error


def lies(image: Image.Image, path: Path | str) -> bool:
    """Whether the orientation in the file exchanges height and width."""
    if isinstance(image, TiffImageFile) and ExifTags.Base.Orientation in image.tag_v2:
        return False  # Pillow has exchanged them already
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

"""What the numbers of an open image mean: deep grey, inks, and what has no defined white."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

from omgsr.core.image_files import ImageError

_DEEP = {"I;16", "I;16B", "I;16L", "I;16N"}
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # tags of TIFF


def is_deep_grey(image: Image.Image) -> bool:
    """Whether Pillow gives grey of more than 8 bits, for `deep_grey`."""
    return image.mode in _DEEP or (image.mode == "I" and image.format == "PNG")


def deep_grey(image: Image.Image) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """Upright grey (h, w), 0 black and 65535 white, and the alpha of its one transparent level.

    A scanner's 12 bits are stretched, and TIFF's grey whose white is 0 is turned around, which
    Pillow does for 8 bits alone.
    """
    grey = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
    clear = image.info.get("transparency")
    alpha = None if clear is None else np.where(grey == clear, 0, 65535).astype(np.uint16)
    if isinstance(image, TiffImageFile):
        white = 2 ** image.tag_v2.get(_BITS, (16,))[0] - 1
        grey = np.rint(grey * (65535 / white)).astype(np.uint16)
        if image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            grey = 65535 - grey
    return grey, alpha


def eight_bits(image: Image.Image, path: Path | str) -> Image.Image:
    """Any other image, upright => RGB, or RGBA where it has transparency.

    CMYK goes through its ICC profile to sRGB; without one it is 255 minus the inks. An ImageError
    refuses 32 bits.
    """
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{path}: pixels are 32-bit ({image.mode}), whose white is not defined; "
            "convert the file to 8 or 16 bits"
        )
    upright = ImageOps.exif_transpose(image)
    if image.mode == "CMYK":
        return _printed(upright, image.info.get("icc_profile"))
    return upright.convert("RGBA" if image.has_transparency_data else "RGB")


def _printed(image: Image.Image, icc: Any) -> Image.Image:
    """CMYK as it looks printed: relative colorimetric with black point compensation, as usual."""
    if isinstance(icc, bytes) and icc[16:20] == b"CMYK":
        try:
            made = ImageCms.profileToProfile(
                image, ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile("sRGB"),
                ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB",
                flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
            )  # fmt: skip
            if made is not None:
                return made
        except (ImageCms.PyCMSError, OSError):
            pass  # a profile that LittleCMS does not take
    return image.convert("RGB")

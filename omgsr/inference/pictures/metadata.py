"""What an image file says beside its pixels, without what describes that file alone.

A restored picture has other sizes, stands upright and is compressed anew: only what is said of the
photograph goes over to it.
"""

import math
from typing import Any
from xml.dom import minidom
from xml.parsers.expat import ExpatError

from PIL import ExifTags, Image

from omgsr.core.image_files import DAMAGE

FOLDERS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
"""EXIF tags that hold tags."""
RESOLUTION = (282, 283, 296)
"""EXIF tags: pixels along x and y in a unit, which is 2 for inches and 3 for centimetres."""
ORIENTATION = ExifTags.Base.Orientation

# All else in EXIF describes the file that was read: its strips, its orientation, its thumbnail.
_KEPT = {270, 271, 272, 305, 306, 315, 316, 18246, 33432, *range(40091, 40096)}
_STALE = {0xA002, 0xA003, 0xA005, 0x927C}  # width, height, interoperability, maker's offsets
_TURNED = (5, 6, 7, 8)
"""Orientations that exchange rows and columns."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_TIFF = "http://ns.adobe.com/tiff/1.0/"
_TIFF_KEPT = {
    "Artist", "Copyright", "DateTime", "ImageDescription", "Make", "Model", "Software"
}  # fmt: skip
_XMP_STALE = {
    ("http://ns.adobe.com/exif/1.0/", "PixelXDimension"),
    ("http://ns.adobe.com/exif/1.0/", "PixelYDimension"),
    ("http://ns.adobe.com/photoshop/1.0/", "ColorMode"),
    ("http://ns.adobe.com/photoshop/1.0/", "ICCProfile"),
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"),
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"),  # further parts, which are not read
}
# Of films, depths and gain maps that stand behind the pixels of a phone's file.
_XMP_FOREIGN = ("http://ns.google.com/photos/", "http://ns.adobe.com/hdr-gain-map/")


def profile(icc: Any, grey: bool, mode: str) -> bytes | None:
    """The ICC profile if it is one of the channels that are kept; CMYK's never is."""
    if not isinstance(icc, bytes) or len(icc) <= 128 or mode == "CMYK":
        return None
    return icc if icc[16:20] == (b"GRAY" if grey else b"RGB ") else None


def described(exif: Image.Exif) -> bytes | None:
    """What EXIF says of the photograph; None where it says nothing or is broken."""
    kept = Image.Exif()
    try:
        kept.update({tag: value for tag, value in exif.items() if tag in _KEPT})
        for number in FOLDERS:
            tags = {tag: value for tag, value in exif.get_ifd(number).items() if tag not in _STALE}
            if tags:
                kept[number] = tags
        return kept.tobytes() if len(kept) else None
    except (*DAMAGE, TypeError, KeyError, AttributeError):
        return None


def density(dpi: Any, exif: Image.Exif, turn: int) -> tuple[float, float] | None:
    """Pixels per inch along x and y of the upright image, by the file or else by its EXIF."""
    try:
        x, y = (float(value) for value in (dpi or _exif_dpi(exif)))
    except (*DAMAGE, TypeError, ZeroDivisionError, KeyError):
        return None
    if not all(math.isfinite(value) and 1 <= value < 2**16 for value in (x, y)):
        return None
    return (y, x) if turn in _TURNED else (x, y)


def packet(xmp: Any) -> bytes | None:
    """The XMP packet of an upright image: orientation 1, and nothing of the file's layout.

    None where there is none, or none that XMP allows (UTF-8, well-formed, no document type).
    """
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if not isinstance(xmp, bytes) or b"<!DOCTYPE" in xmp:
        return None
    try:
        document = minidom.parseString(xmp.strip(b"\0\t\r\n ").decode().lstrip("\ufeff"))
        for description in document.getElementsByTagNameNS(_RDF, "Description"):
            _update(document, description)
        return "".join(node.toxml() for node in document.childNodes).encode()
    except (ExpatError, ValueError, RecursionError):
        return None


def _update(document: minidom.Document, description: Any) -> None:
    """Takes what is stale out of properties, which are elements or attributes."""
    for element in [child for child in description.childNodes if child.nodeType == 1]:
        if _stale(element):
            description.removeChild(element)
        elif _orients(element):
            for child in list(element.childNodes):
                element.removeChild(child)
            element.appendChild(document.createTextNode("1"))
    for attribute in list(description.attributes.values()):
        if _stale(attribute):
            description.removeAttributeNode(attribute)
        elif _orients(attribute):
            attribute.value = "1"


def _exif_dpi(exif: Image.Exif) -> tuple[float, float]:
    x, y, unit = (exif[tag] for tag in RESOLUTION)
    per_inch = {2: 1.0, 3: 2.54}[unit]
    return float(x) * per_inch, float(y) * per_inch


def _stale(node: Any) -> bool:
    space, name = node.namespaceURI or "", node.localName
    if space == _TIFF:
        return name != "Orientation" and name not in _TIFF_KEPT
    return (space, name) in _XMP_STALE or space.startswith(_XMP_FOREIGN)


def _orients(node: Any) -> bool:
    return (node.namespaceURI, node.localName) == (_TIFF, "Orientation")

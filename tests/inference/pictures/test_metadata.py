"""What goes from an image file to its restoration: XMP, and colours that a profile explains."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from omgsr.core import images
from omgsr.inference.pictures import metadata, still_image, writing

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = COLOUR.astype(np.uint16) * 257
PACKET = (
    """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
    xmlns:note="http://ns.adobe.com/xmp/note/" xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmp:Rating="4" note:HasExtendedXMP="0123" exif:PixelXDimension="9" ORIENTED>
   ELEMENTS<tiff:ImageWidth>9</tiff:ImageWidth>
   <tiff:Make>OMGSR &amp; co</tiff:Make>
   <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Bäume</rdf:li></rdf:Alt></dc:title>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
    + " " * 200
    + '\n<?xpacket end="w"?>'
)
ATTRIBUTE, ELEMENT = 'tiff:Orientation="6"', "<tiff:Orientation>6</tiff:Orientation>"


def xmp(oriented: str = "") -> bytes:
    attribute, element = (oriented, "") if "=" in oriented else ("", oriented)
    return PACKET.replace("ORIENTED", attribute).replace("ELEMENTS", element).encode()


def save(path: Path, packet: bytes, **options: Any) -> Path:
    image = Image.fromarray(COLOUR)
    if path.suffix == ".png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", packet.decode())
        image.save(path, pnginfo=info, **options)
    elif path.suffix == ".tif":
        image.save(path, tiffinfo={700: packet}, **options)
    else:
        image.save(path, xmp=packet, **options)
    return path


def passed(picture: still_image.Picture) -> NDArray[np.float32]:
    return picture.colour / np.float32(np.iinfo(picture.colour.dtype).max)


def held(path: Path) -> bytes:
    """The packet in a file, as Pillow finds it."""
    with Image.open(path) as image:
        image.load()
        assert isinstance(image.info["xmp"], bytes)
        return image.info["xmp"]


@pytest.mark.parametrize("source", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("target", [".png", ".jpg", ".webp", ".tif"])
@pytest.mark.parametrize("deep", [False, True], ids=["8", "16"])
def test_xmp_is_carried_between_all_formats_that_hold_it(
    tmp_path: Path, source: str, target: str, deep: bool
) -> None:
    picture = still_image.read(save(tmp_path / f"a{source}", xmp()))
    if deep:
        picture = still_image.Picture(colour=DEEP, xmp=picture.xmp)
    writing.write(tmp_path / f"b{target}", picture, passed(picture))
    assert held(tmp_path / f"b{target}") == picture.xmp
    told = ElementTree.fromstring(held(tmp_path / f"b{target}")).find(".//{*}Description")
    assert told is not None
    assert told.get("{http://ns.adobe.com/xap/1.0/}Rating") == "4"
    assert told.findtext("{http://ns.adobe.com/tiff/1.0/}Make") == "OMGSR & co"
    assert told.findtext(".//{*}li") == "Bäume"
    said = " ".join([*told.attrib, *(child.tag for child in told)])
    assert not re.search("ImageWidth|PixelXDimension|HasExtendedXMP", said)
    assert still_image.read(tmp_path / f"b{target}").xmp == picture.xmp  # nothing is lost or added


@pytest.mark.parametrize("oriented", [ATTRIBUTE, ELEMENT])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_an_orientation_in_xmp_turns_the_image_once(
    tmp_path: Path, oriented: str, suffix: str
) -> None:
    path = save(tmp_path / f"a{suffix}", xmp(oriented))
    picture = still_image.read(path)
    assert picture.colour.shape == (9, 6, 3)
    assert images.read_size(path) == (9, 6)
    np.testing.assert_array_equal(picture.colour, images.read_rgb(path))
    for target in (".png", ".jpg", ".webp", ".tif"):
        writing.write(tmp_path / f"b{target}", picture, passed(picture))
        said = re.search(rb'tiff:Orientation(?:="|>)(.)', held(tmp_path / f"b{target}"))
        assert said[1] == b"1" if said else suffix == ".tif"  # Pillow takes it out of TIFF's
        assert still_image.read(tmp_path / f"b{target}").colour.shape == (9, 6, 3)


def test_an_orientation_in_xmp_turns_colour_of_16_bits(tmp_path: Path) -> None:
    upright = still_image.Picture(colour=DEEP)
    lying = still_image.Picture(colour=DEEP, xmp=xmp(ATTRIBUTE))
    for suffix in (".png", ".tif"):
        path = tmp_path / f"a{suffix}"
        writing.write(path, lying, passed(upright))
        np.testing.assert_array_equal(still_image.read(path).colour, np.rot90(DEEP, -1))
        assert images.read_size(path) == (9, 6)


def test_orientations_in_exif_and_xmp_are_both_taken_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[metadata.ORIENTATION] = 6
    exif[271] = "OMGSR"
    picture = still_image.read(save(tmp_path / "a.jpg", xmp(ATTRIBUTE), exif=exif))
    for target in (".png", ".jpg", ".webp", ".tif"):
        writing.write(tmp_path / f"b{target}", picture, passed(picture))
        with Image.open(tmp_path / f"b{target}") as image:
            assert image.size == (6, 9)
            assert image.getexif()[271] == "OMGSR"
            assert image.getexif().get(metadata.ORIENTATION, 1) == 1


def test_a_prefix_declared_on_the_element_itself_stays() -> None:
    space = "http://ns.adobe.com/tiff/1.0/"
    alone = PACKET.replace("ORIENTED", "").replace(
        "ELEMENTS", f'<t:Orientation xmlns:t="{space}">6</t:Orientation>'
    )
    made = metadata.packet(alone)
    assert made is not None
    assert f'<t:Orientation xmlns:t="{space}">1</t:Orientation>'.encode() in made
    assert metadata.packet(made) == made


@pytest.mark.parametrize(
    "broken",
    [
        b"", b"no xml", b"\xff\xfe<", b"<a>" * 50_000 + b"</a>" * 50_000, None, 7,
        b'<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>', b"<a b='1' b='2'/>",
    ],
)  # fmt: skip
def test_xmp_that_is_none_is_left_out(broken: Any) -> None:
    assert metadata.packet(broken) is None


def test_a_broken_packet_does_not_stop_its_image(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", b"<x:xmpmeta")
    assert still_image.read(path).xmp is None


def test_xmp_too_long_for_jpeg_is_left_out(tmp_path: Path) -> None:
    for size, kept in ((65_504, True), (65_505, False)):
        short = metadata.packet(xmp()) or b""
        long = short.replace(b"co<", b"co" + b"o" * (size - len(short)) + b"<")
        picture = still_image.Picture(colour=COLOUR, xmp=long)
        assert len(long) == size
        writing.write(tmp_path / "a.jpg", picture, passed(picture))
        with Image.open(tmp_path / "a.jpg") as image:
            assert ("xmp" in image.info) == kept


def test_a_bmp_has_no_place_for_it(tmp_path: Path) -> None:
    picture = still_image.Picture(colour=COLOUR, xmp=xmp())
    writing.write(tmp_path / "a.bmp", picture, passed(picture))
    assert still_image.read(tmp_path / "a.bmp").xmp is None


# CMYK


def inks(lab: NDArray[Any]) -> bytes:
    """An ICC profile of a press: Lab (2, 2, 2, 2, 3) at the corners of cyan, magenta, yellow, key.

    ICC.1:2001-04: a lut8Type of two grid points, L* of 0..100 as 0..255, a* and b* as 128 + a*.
    """
    lut = struct.pack(">4s4xBBBx", b"mft1", 4, 3, 2)
    lut += struct.pack(">9i", *(65536 * int(i % 4 == 0) for i in range(9)))
    ramp = bytes(range(256))
    lut += ramp * 4 + lab.astype(np.uint8).tobytes() + ramp * 3
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)
    tags, data = [(b"A2B0", lut), (b"A2B1", lut), (b"wtpt", white)], b""
    table = struct.pack(">I", len(tags))
    for name, value in tags:
        table += struct.pack(">4sII", name, 128 + 4 + 12 * len(tags) + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4sI4s4s4s12x4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ",
                         b"acsp")  # fmt: skip
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + table + data


def press() -> bytes:
    """Inks of which cyan alone is a green (Lab 60, -50, 40), so that a profile can be told."""
    lab = np.zeros((2, 2, 2, 2, 3))
    lab[..., 0], lab[..., 1:] = 0, 128
    lab[0, 0, 0, 0] = 255, 128, 128
    lab[1, 0, 0, 0] = 153, 78, 168
    return inks(lab)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_goes_through_its_profile_to_srgb(tmp_path: Path, suffix: str) -> None:
    ink = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    ink.save(tmp_path / f"a{suffix}", icc_profile=press())
    picture = still_image.read(tmp_path / f"a{suffix}")
    assert np.abs(picture.colour.astype(int) - srgb(60, -50, 40)).max() <= 3
    np.testing.assert_array_equal(picture.colour, images.read_rgb(tmp_path / f"a{suffix}"))
    assert (picture.icc, picture.grey, picture.alpha) == (None, False, None)
    for target in (".png", ".jpg", ".tif", ".webp"):
        writing.write(tmp_path / f"b{target}", picture, passed(picture))
        with Image.open(tmp_path / f"b{target}") as image:
            assert image.mode == "RGB"
            assert "icc_profile" not in image.info


def srgb(light: float, a: float, b: float) -> NDArray[np.float64]:
    """CIE Lab under D50 => sRGB in 0..255."""
    y = (light + 16) / 116
    f = np.array([y + a / 500, y, y - b / 200])
    xyz = np.where(f > 6 / 29, f**3, (f - 4 / 29) * 3 * (6 / 29) ** 2) * [0.9642, 1, 0.8249]
    matrix = [  # XYZ under D50 => linear sRGB, Bradford
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(np.array(matrix) @ xyz, 0, 1)
    return 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
@pytest.mark.parametrize("profile", ["none", "broken", "of another colour space"])
def test_cmyk_without_a_profile_is_255_minus_its_inks(
    tmp_path: Path, suffix: str, profile: str
) -> None:
    srgb_profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    broken = srgb_profile[:16] + b"CMYK" + srgb_profile[20:]
    icc = {"none": None, "broken": broken, "of another colour space": srgb_profile}[profile]
    red = np.full((16, 16, 3), (200, 40, 10), np.uint8)
    Image.fromarray(red).convert("CMYK").save(tmp_path / f"a{suffix}", icc_profile=icc)
    picture = still_image.read(tmp_path / f"a{suffix}")
    assert np.abs(picture.colour.astype(int) - red).max() <= 6
    assert (picture.icc, picture.grey) == (None, False)

import struct

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.inference.pictures import still_image, writing

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (6, 9, 3), dtype=np.uint16)
DEEP_ALPHA = RNG.integers(0, 65536, (6, 9), dtype=np.uint16)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
RGB_SUFFIXES = [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"]


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def save_deep(path, colour, alpha=None):
    """16-bit RGB or RGBA by OpenCV, which wants BGR."""
    planes = colour[..., ::-1] if alpha is None else np.dstack([colour[..., ::-1], alpha])
    assert cv2.imwrite(str(path), planes)
    return path


def passed(picture):
    """What a method gives that changes nothing: colour and alpha in [0, 1]."""
    top = np.float32(np.iinfo(picture.colour.dtype).max)
    return picture.colour / top, None if picture.alpha is None else picture.alpha / top


def again(path, picture, **options):
    writing.write(path, picture, *passed(picture), **options)
    return still_image.read(path)


def same(one, other):
    np.testing.assert_array_equal(one.colour, other.colour)
    assert one.colour.dtype == other.colour.dtype
    assert (one.alpha is None) == (other.alpha is None)
    if one.alpha is not None:
        np.testing.assert_array_equal(one.alpha, other.alpha)
        assert one.alpha.dtype == other.alpha.dtype
    assert one.grey == other.grey


# Every mode, there and back


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_colour_of_8_bits(tmp_path, suffix):
    picture = still_image.read(save(tmp_path / f"a{suffix}", COLOUR))
    np.testing.assert_array_equal(picture.colour, COLOUR)
    assert (picture.colour.dtype, picture.alpha, picture.grey) == (np.uint8, None, False)
    same(again(tmp_path / f"b{suffix}", picture), picture)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_colour_comes_back_close(tmp_path, suffix):
    smooth = cv2.resize(COLOUR, (90, 60), interpolation=cv2.INTER_CUBIC)
    picture = still_image.read(save(tmp_path / "a.png", smooth))
    back = again(tmp_path / f"b{suffix}", picture)
    assert np.abs(back.colour.astype(int) - smooth).mean() < 5
    worse = again(tmp_path / f"c{suffix}", picture, quality=10)
    assert (tmp_path / f"c{suffix}").stat().st_size < (tmp_path / f"b{suffix}").stat().st_size
    assert np.abs(worse.colour.astype(int) - smooth).mean() > 5


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".jpg"])
def test_grey_of_8_bits_is_one_channel(tmp_path, suffix):
    picture = still_image.read(save(tmp_path / f"a{suffix}", COLOUR[..., 0].copy()))
    assert picture.grey
    assert (picture.colour == picture.colour[..., :1]).all()
    back = again(tmp_path / f"b{suffix}", picture)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.mode == "L"
    if suffix != ".jpg":
        same(back, picture)


def test_grey_is_the_mean_of_three_channels(tmp_path):
    picture = still_image.Picture(colour=COLOUR, grey=True)
    writing.write(tmp_path / "a.png", picture, np.full((1, 2, 3), (0.1, 0.4, 0.7), np.float32))
    assert still_image.read(tmp_path / "a.png").colour.tolist() == [[[102] * 3] * 2]  # 0.4 x 255


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_one_bit(tmp_path, suffix):
    picture = still_image.read(save(tmp_path / f"a{suffix}", COLOUR[..., 0] > 99))
    np.testing.assert_array_equal(picture.colour[..., 2], (COLOUR[..., 0] > 99) * np.uint8(255))
    assert picture.grey
    same(again(tmp_path / f"b{suffix}", picture), picture)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_with_alpha(tmp_path, suffix):
    picture = still_image.read(save(tmp_path / f"a{suffix}", np.dstack([COLOUR[..., 0], ALPHA])))
    np.testing.assert_array_equal(picture.colour[..., 1], COLOUR[..., 0])
    np.testing.assert_array_equal(picture.alpha, ALPHA)
    assert picture.grey
    same(again(tmp_path / f"b{suffix}", picture), picture)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.mode == "LA"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_colour_with_alpha(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", np.dstack([COLOUR, ALPHA]), lossless=True, exact=True)
    picture = still_image.read(path)
    np.testing.assert_array_equal(picture.colour, COLOUR)  # beneath alpha 0 as well
    np.testing.assert_array_equal(picture.alpha, ALPHA)
    back = again(tmp_path / f"b{suffix}", picture)
    np.testing.assert_array_equal(back.alpha, ALPHA)
    if suffix != ".webp":
        same(back, picture)


def test_palettes(tmp_path):
    image = Image.fromarray(COLOUR).quantize(8)
    expected = np.array(image.convert("RGB"))
    image.save(tmp_path / "a.png")
    picture = still_image.read(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.colour, expected)
    assert (picture.alpha, picture.grey) == (None, False)
    clear = image.getpixel((0, 0))
    image.save(tmp_path / "b.png", transparency=clear)
    picture = still_image.read(tmp_path / "b.png")
    np.testing.assert_array_equal(picture.colour, expected)
    np.testing.assert_array_equal(picture.alpha, np.where(np.array(image) == clear, 0, 255))
    same(again(tmp_path / "c.png", picture), picture)


def test_grey_with_one_transparent_level(tmp_path):
    grey = COLOUR[..., 0].copy()
    level = int(grey[2, 3])
    picture = still_image.read(save(tmp_path / "a.png", grey, transparency=level))
    np.testing.assert_array_equal(picture.alpha, np.where(grey == level, 0, 255))
    deep = grey.astype(np.uint16) * 257 + 1
    path = save(tmp_path / "b.png", deep, transparency=level * 257 + 1)
    picture = still_image.read(path)
    np.testing.assert_array_equal(picture.alpha, np.where(grey == level, 0, 65535))
    np.testing.assert_array_equal(picture.colour[..., 2], deep)
    expected = np.where(grey == level, 255, np.rint(deep / 257))  # on white
    np.testing.assert_array_equal(images.read_rgb(path)[..., 0], expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_is_exact(tmp_path, suffix):
    picture = still_image.read(save(tmp_path / f"a{suffix}", DEEP[..., 0].copy()))
    np.testing.assert_array_equal(picture.colour, np.repeat(DEEP[..., :1], 3, axis=2))
    assert (picture.colour.dtype, picture.grey) == (np.uint16, True)
    same(again(tmp_path / f"b{suffix}", picture), picture)
    with Image.open(tmp_path / f"b{suffix}") as image:
        assert image.mode == "I;16"


def test_grey_of_16_bits_in_a_file_of_the_other_byte_order(tmp_path):
    path = tmp_path / "a.tif"
    Image.frombytes("I;16B", (9, 6), DEEP[..., 0].astype(">u2").tobytes()).save(path)
    assert path.read_bytes()[:2] == b"MM"
    np.testing.assert_array_equal(still_image.read(path).colour[..., 0], DEEP[..., 0])


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff"])
@pytest.mark.parametrize("alpha", [None, DEEP_ALPHA], ids=["rgb", "rgba"])
def test_colour_of_16_bits_is_exact(tmp_path, suffix, alpha):
    picture = still_image.read(save_deep(tmp_path / f"a{suffix}", DEEP, alpha))
    same(picture, still_image.Picture(colour=DEEP, alpha=alpha))
    same(again(tmp_path / f"b{suffix}", picture), picture)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_with_alpha(tmp_path, suffix):
    grey = np.repeat(DEEP[..., :1], 3, axis=2)
    picture = still_image.Picture(colour=grey, alpha=DEEP_ALPHA, grey=True)
    back = again(tmp_path / f"a{suffix}", picture)
    np.testing.assert_array_equal(back.colour, grey)
    np.testing.assert_array_equal(back.alpha, DEEP_ALPHA)
    assert back.grey == (suffix == ".png")


def test_grey_of_16_bits_with_alpha_is_png_colour_type_4(tmp_path):
    """What other readers make of it, down to images of one pixel."""
    for height, width in [(6, 9), (1, 1), (1, 9), (6, 1)]:
        grey, alpha = DEEP[:height, :width, 0], DEEP_ALPHA[:height, :width]
        picture = still_image.Picture(
            colour=np.repeat(grey[..., None], 3, axis=2), alpha=alpha, grey=True,
            icc=GREY, exif=turning(1).tobytes(), dpi=(300, 150),
        )  # fmt: skip
        same(again(tmp_path / "a.png", picture), picture)
        data = (tmp_path / "a.png").read_bytes()
        assert struct.unpack(">II5B", data[16:29]) == (width, height, 16, 4, 0, 0, 0)
        planes = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(planes, np.dstack([grey, grey, grey, alpha]))
        with Image.open(tmp_path / "a.png") as image:
            image.verify()  # every chunk's checksum
            assert image.info["icc_profile"] == GREY


def test_every_level_of_16_bits_comes_back(tmp_path):
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    picture = still_image.Picture(colour=np.dstack([levels, levels.T, levels[::-1]]))
    for suffix in (".png", ".tif"):
        same(again(tmp_path / f"a{suffix}", picture), picture)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_16_bits_become_8_where_the_format_has_no_more(tmp_path, suffix):
    flat = np.full((8, 8, 3), 257 * 100 + 10, np.uint16)
    back = again(tmp_path / f"a{suffix}", still_image.Picture(colour=flat))
    assert back.colour.dtype == np.uint8
    assert np.abs(back.colour.astype(int) - 100).max() <= 1


# Orientation


def upright(array, orientation):
    """EXIF's definition: where row 0 and column 0 of the file belong."""
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    return turned[orientation](array)


def turning(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "OMGSR"
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_orientation_of_8_bits_and_of_grey_of_16(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    for array in (np.dstack([COLOUR, ALPHA]), DEEP[..., 0].copy()):
        picture = still_image.read(save(path, array, exif=turning(orientation)))
        planes = upright(array, orientation)
        got = np.dstack([picture.colour, picture.alpha]) if array.ndim == 3 else picture.colour
        np.testing.assert_array_equal(got if array.ndim == 3 else got[..., 0], planes)
        assert images.read_size(path) == picture.colour.shape[:2] == images.read_rgb(path).shape[:2]
        same(again(tmp_path / f"b{suffix}", picture), picture)  # and is not turned once more


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_photograph(tmp_path, orientation):
    path = save(tmp_path / "a.jpg", COLOUR, exif=turning(orientation), quality=100, subsampling=0)
    picture = still_image.read(path)
    np.testing.assert_array_equal(picture.colour, images.read_rgb(path))
    assert np.abs(picture.colour.astype(int) - upright(COLOUR, orientation)).max() < 12
    back = again(tmp_path / "b.jpg", picture, quality=100)
    assert np.abs(back.colour.astype(int) - picture.colour).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("alpha", [None, DEEP_ALPHA], ids=["rgb", "rgba"])
def test_orientation_of_colour_of_16_bits(tmp_path, orientation, alpha):
    plain = still_image.Picture(colour=DEEP, alpha=alpha, exif=turning(orientation).tobytes())
    expected = still_image.Picture(
        colour=upright(DEEP, orientation),
        alpha=None if alpha is None else upright(alpha, orientation),
    )
    for name in ("a.png", "a.tif"):
        writing.write(tmp_path / name, plain, *passed(plain))  # with the tag, as a camera does
        same(still_image.read(tmp_path / name), expected)


def write_tiff(path, tags, strips, order=">"):
    """A TIFF from its tags, all of them lists of 16-bit numbers; Motorola's byte order."""
    tags = {256: [9], 257: [6], 259: [1], **tags, 278: [6]}
    tags |= {279: [len(strip) for strip in strips], 273: [0] * len(strips)}
    after = 8 + 2 + 12 * len(tags) + 4
    room = sum(2 * len(values) for values in tags.values() if len(values) > 2)
    starts = np.cumsum([after + room, *(len(strip) for strip in strips[:-1])])
    tags[273] = [int(start) for start in starts]
    entries, values_apart = b"", b""
    for tag, values in sorted(tags.items()):
        data = struct.pack(f"{order}{len(values)}H", *values)
        if len(data) > 4:
            values_apart, data = (
                values_apart + data,
                struct.pack(order + "I", after + len(values_apart)),
            )
        entries += struct.pack(order + "HHI", tag, 3, len(values)) + data.ljust(4, b"\0")
    mark = b"MM" if order == ">" else b"II"
    head = mark + struct.pack(order + "HIH", 42, 8, len(tags))
    path.write_bytes(head + entries + bytes(4) + values_apart + b"".join(strips))
    return path


RGB_TAGS = {258: [16] * 3, 262: [2], 277: [3], 284: [1]}


def test_orientation_in_a_tiff_of_the_other_byte_order(tmp_path):
    strips = [DEEP.astype(">u2").tobytes()]
    for orientation in range(1, 9):
        path = write_tiff(tmp_path / "a.tif", RGB_TAGS | {274: [orientation]}, strips)
        np.testing.assert_array_equal(still_image.read(path).colour, upright(DEEP, orientation))


def test_16_bits_that_opencv_reads_as_other_pixels_are_refused(tmp_path):
    planes = [DEEP[..., channel].astype(">u2").tobytes() for channel in range(3)]
    apart = write_tiff(tmp_path / "planes.tif", RGB_TAGS | {284: [2]}, planes)
    tags = RGB_TAGS | {258: [16] * 4, 277: [4], 338: [1]}
    strip = np.dstack([DEEP // 2, DEEP_ALPHA // 2 + 2**15]).astype(">u2").tobytes()
    multiplied = write_tiff(tmp_path / "multiplied.tif", tags, [strip])
    for path in (apart, multiplied):
        with pytest.raises(ImageError, match=f"{path.name}: .* save the image as a 16-bit PNG"):
            still_image.read(path)


def test_16_bit_grey_whose_white_is_0(tmp_path):
    tags = {258: [16], 262: [0], 277: [1]}
    path = write_tiff(tmp_path / "a.tif", tags, [DEEP[..., 0].astype("<u2").tobytes()], "<")
    expected = 65535 - DEEP[..., 0]
    np.testing.assert_array_equal(still_image.read(path).colour[..., 1], expected)
    np.testing.assert_array_equal(images.read_rgb(path)[..., 1], np.rint(expected / 257))


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_few_bits_whose_white_is_0(tmp_path, bits):
    levels = COLOUR[..., 0] >> (8 - bits)
    rows = np.unpackbits(levels[..., None], axis=2)[..., 8 - bits :].reshape(6, -1)
    strip = np.packbits(rows, axis=1).tobytes()
    path = write_tiff(tmp_path / "a.tif", {258: [bits], 262: [0], 277: [1]}, [strip], "<")
    expected = 255 - levels * (255 // (2**bits - 1))
    np.testing.assert_array_equal(still_image.read(path).colour[..., 2], expected)
    np.testing.assert_array_equal(images.read_rgb(path)[..., 2], expected)


def test_grey_of_12_bits_is_stretched_to_16(tmp_path):
    level = 0xABC
    row = bytes.fromhex("abcabc" * 4 + "abc0")  # 9 pixels, filled up to whole bytes
    path = write_tiff(tmp_path / "a.tif", {258: [12], 262: [1], 277: [1]}, [row * 6], "<")
    assert (still_image.read(path).colour == round(level * 65535 / 4095)).all()
    assert (images.read_rgb(path) == round(level * 255 / 4095)).all()


def test_bits_that_pillow_does_not_read_are_refused_by_name(tmp_path):
    """14 bits, and 12 of which white is 0: never taken for 16."""
    for bits, white in ((14, 1), (12, 0)):
        tags = {258: [bits], 262: [white], 277: [1]}
        path = write_tiff(tmp_path / "a.tif", tags, [bytes(6 * 16)], "<")
        for read in (still_image.read, images.read_rgb):
            with pytest.raises(ImageError, match=r"a\.tif: .*convert"):
                read(path)


# Profile, EXIF, dpi


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_profile_is_kept(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", COLOUR, icc_profile=SRGB)
    picture = still_image.read(path)
    assert picture.icc == SRGB
    assert again(tmp_path / f"b{suffix}", picture).icc == SRGB


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [None, DEEP_ALPHA], ids=["rgb", "rgba"])
def test_files_of_16_bits_carry_all(tmp_path, suffix, alpha):
    exif = described()
    del exif[ExifTags.Base.Orientation]
    picture = still_image.Picture(
        colour=DEEP, alpha=alpha, icc=SRGB, exif=exif.tobytes(), dpi=(300, 150)
    )
    back = again(tmp_path / f"a{suffix}", picture)
    same(back, picture)
    assert back.icc == SRGB
    assert back.dpi == pytest.approx((300, 150), abs=0.02)
    check_described(back.exif)
    with Image.open(tmp_path / f"a{suffix}") as image:
        assert image.mode == ("RGB" if alpha is None else "RGBA")
        image.load()


def test_a_profile_of_other_channels_is_dropped(tmp_path):
    grey = COLOUR[..., 0].copy()
    assert still_image.read(save(tmp_path / "a.png", grey, icc_profile=GREY)).icc == GREY
    assert still_image.read(save(tmp_path / "b.png", grey, icc_profile=SRGB)).icc is None
    assert still_image.read(save(tmp_path / "c.png", COLOUR, icc_profile=GREY)).icc is None
    assert still_image.read(save(tmp_path / "d.png", COLOUR, icc_profile=b"broken")).icc is None


def test_a_profile_of_grey_is_not_written_beside_three_channels(tmp_path):
    for colour, alpha, kept in [
        (COLOUR, None, {".png", ".tif", ".jpg"}),
        (COLOUR, ALPHA, {".png", ".tif"}),
        (DEEP, None, {".png", ".tif", ".jpg"}),
        (DEEP, DEEP_ALPHA, {".png"}),
    ]:
        picture = still_image.Picture(colour=colour, alpha=alpha, grey=True, icc=GREY)
        for suffix in (".png", ".tif", ".webp", ".jpg"):
            if alpha is None or suffix != ".jpg":
                writing.write(tmp_path / f"a{suffix}", picture, *passed(picture))
                with Image.open(tmp_path / f"a{suffix}") as image:
                    assert ("icc_profile" in image.info) == (suffix in kept)


def described():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "OMGSR"
    exif[ExifTags.Base.Artist] = "N. N."
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageWidth] = 12345
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.ExposureTime: 0.01,
        ExifTags.Base.ISOSpeedRatings: 400,
        ExifTags.Base.ExifImageWidth: 12345,
    }
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif


def check_described(data):
    exif = Image.Exif()
    exif.load(data)
    assert exif[ExifTags.Base.Make] == "OMGSR"
    assert exif[ExifTags.Base.Artist] == "N. N."
    assert exif.get(ExifTags.Base.Orientation, 1) == 1
    assert ExifTags.Base.ImageWidth not in exif
    taken = exif.get_ifd(ExifTags.IFD.Exif)
    assert taken[ExifTags.Base.ISOSpeedRatings] == 400
    assert float(taken[ExifTags.Base.ExposureTime]) == pytest.approx(0.01)
    assert ExifTags.Base.ExifImageWidth not in taken
    assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_exif_is_kept_but_for_what_describes_the_old_file(tmp_path, suffix):
    picture = still_image.read(save(tmp_path / f"a{suffix}", COLOUR, exif=described()))
    check_described(picture.exif)
    back = again(tmp_path / f"b{suffix}", picture)
    check_described(back.exif)
    assert back.colour.shape == picture.colour.shape == (9, 6, 3)


def test_exif_of_a_tiff_has_none_of_its_strips(tmp_path):
    camera = still_image.Picture(colour=COLOUR, exif=described().tobytes())
    picture = again(tmp_path / "a.tif", camera)
    np.testing.assert_array_equal(picture.colour, upright(COLOUR, 6))
    exif = Image.Exif()
    exif.load(picture.exif)
    assert exif[ExifTags.Base.Make] == "OMGSR"
    assert not {256, 257, 258, 259, 273, 274, 278, 279} & set(exif)
    check_described(picture.exif)
    check_described(again(tmp_path / "b.jpg", picture).exif)
    again(tmp_path / "b.tif", picture)


def test_exif_too_long_for_jpeg_is_left_out(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    picture = still_image.read(save(tmp_path / "a.png", COLOUR, exif=exif))
    assert again(tmp_path / "b.png", picture).exif == picture.exif
    assert again(tmp_path / "b.jpg", picture).exif is None


def test_a_file_without_exif_has_none(tmp_path):
    for suffix in RGB_SUFFIXES:
        path = save(tmp_path / f"a{suffix}", COLOUR)
        assert still_image.read(path).exif is None, suffix


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
def test_dpi_is_kept(tmp_path, suffix):
    picture = still_image.read(save(tmp_path / f"a{suffix}", COLOUR, dpi=(300, 150)))
    assert picture.dpi == pytest.approx((300, 150), abs=0.02)
    assert again(tmp_path / f"b{suffix}", picture).dpi == pytest.approx((300, 150), abs=0.02)


def test_dpi_is_kept_in_the_exif_of_webp(tmp_path):
    for exif in (None, described().tobytes()):
        picture = still_image.Picture(colour=COLOUR, exif=exif, dpi=(300, 150))
        back = again(tmp_path / "a.webp", picture)
        assert back.dpi == pytest.approx((150, 300) if exif else (300, 150))  # 6: on its side
        if exif:
            check_described(back.exif)
        with Image.open(tmp_path / "a.webp") as image:
            assert image.getexif()[ExifTags.Base.ResolutionUnit] == 2
    metric = Image.Exif()
    metric.update({282: 100, 283: 50, 296: 3})
    path = save(tmp_path / "b.webp", COLOUR, exif=metric)
    assert still_image.read(path).dpi == pytest.approx((254, 127))


def test_dpi_is_turned_with_the_image(tmp_path):
    path = save(tmp_path / "a.png", COLOUR, dpi=(300, 150), exif=turning(6))
    assert still_image.read(path).dpi == pytest.approx((150, 300), abs=0.02)


# Writing


@pytest.mark.parametrize("suffix", RGB_SUFFIXES)
def test_equal_pictures_give_equal_bytes(tmp_path, suffix):
    for colour in (COLOUR, DEEP):
        picture = still_image.Picture(
            colour=colour, icc=SRGB, exif=described().tobytes(), dpi=(300, 300)
        )
        one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
        for path in (one, two):
            writing.write(path, picture, *passed(picture))
        assert one.read_bytes() == two.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_the_restored_size_and_not_the_old_one_is_written(tmp_path):
    picture = still_image.Picture(colour=COLOUR, alpha=ALPHA)
    large = np.ones((24, 36, 3), np.float32)
    writing.write(tmp_path / "a.png", picture, large * 0.5, large[..., 0])
    back = still_image.read(tmp_path / "a.png")
    assert back.colour.shape == (24, 36, 3)
    assert (back.colour == 128).all()
    assert (back.alpha == 255).all()


def test_values_outside_0_to_1_are_clipped(tmp_path):
    colour = np.array([[[-0.5, 1.5, 0.5]]], np.float32)
    writing.write(tmp_path / "a.png", still_image.Picture(colour=COLOUR), colour)
    assert still_image.read(tmp_path / "a.png").colour.tolist() == [[[0, 255, 128]]]


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".bmp"])
def test_alpha_where_there_is_none_is_refused(tmp_path, suffix):
    picture = still_image.Picture(colour=COLOUR, alpha=ALPHA)
    with pytest.raises(ValueError, match=r"holds no alpha; write a \.png"):
        writing.write(tmp_path / f"a{suffix}", picture, *passed(picture))
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_written():
    assert set(writing.FORMATS) == set(images.EXTENSIONS)


@pytest.mark.parametrize(
    ("name", "colour", "alpha", "match"),
    [
        ("a.gif", COLOUR, None, r"a\.gif: images are written as \.png .*, not '\.gif'"),
        ("a.png", COLOUR[..., 0], None, r"colour must be \(H, W, 3\), got \(6, 9\)"),
        ("a.png", COLOUR, ALPHA[:3], r"alpha must be \(6, 9\) as colour, got \(3, 9\)"),
        ("a.webp", np.zeros((1, 20_000, 3)), None, r"WEBP takes at most 16,383 .* 20000 x 1"),
        ("a.jpg", np.zeros((70_000, 1, 3)), None, r"JPEG takes at most 65,500 .* 1 x 70000"),
        ("a.png", np.full((2, 2, 3), np.nan), None, r"a\.png: .* NaN"),
    ],
)
def test_what_cannot_be_written_is_said(tmp_path, name, colour, alpha, match):
    with pytest.raises(ValueError, match=match):
        writing.write(tmp_path / name, still_image.Picture(colour=COLOUR), colour, alpha)
    assert list(tmp_path.iterdir()) == []


# Files that are refused


def test_32_bit_images_are_refused(tmp_path):
    for array in (DEEP[..., 0].astype(np.float32), DEEP[..., 0].astype(np.int32)):
        with pytest.raises(ImageError, match=r"a\.tif: pixels are 32-bit .*convert"):
            still_image.read(save(tmp_path / "a.tif", array))


def test_animated_files_are_refused(tmp_path):
    frames = [Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1].copy())]
    for name in ("a.webp", "a.png", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(ImageError, match="holds 2 frames or pages, a still image"):
            still_image.read(tmp_path / name)


def test_large_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("OMGSR_MAX_PIXELS", "53")
    for path in (save(tmp_path / "a.png", COLOUR), save_deep(tmp_path / "b.png", DEEP)):
        with pytest.raises(ImageError, match="over the limit of 53; set OMGSR_MAX_PIXELS=54"):
            still_image.read(path)
    monkeypatch.setenv("OMGSR_MAX_PIXELS", "54")
    still_image.read(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tif", "a.bmp", "deep.png"])
def test_damaged_files_are_refused_by_name(tmp_path, name):
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / name
    save_deep(path, noise.astype(np.uint16) * 257) if "deep" in name else save(path, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=f"{name}: .*replace"):
        still_image.read(path)


def test_missing_and_empty_files_are_refused(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.png: no such image file"):
        still_image.read(tmp_path / "gone.png")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(ImageError, match="is empty"):
        still_image.read(tmp_path / "a.png")


def test_a_half_written_file_is_never_left(tmp_path, monkeypatch):
    picture = still_image.Picture(colour=COLOUR)
    writing.write(tmp_path / "a.png", picture, *passed(picture))
    before = (tmp_path / "a.png").read_bytes()
    with pytest.raises(ValueError, match="NaN"):
        writing.write(tmp_path / "a.png", picture, np.full((2, 2, 3), np.nan, np.float32))
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.real
def test_real_files_of_odd_formats(tmp_path, real_data):
    seen = set()
    for path in images.list_images(real_data / "formats"):
        picture = still_image.read(path)
        seen.add((picture.colour.dtype.name, picture.alpha is not None, picture.grey))
        with Image.open(path) as image:
            assert picture.colour.shape[:2] == (image.height, image.width)
        if picture.alpha is None and picture.colour.dtype == np.uint8:
            np.testing.assert_array_equal(picture.colour, images.read_rgb(path))
        same(again(tmp_path / f"{path.stem}.png", picture), picture)
        same(again(tmp_path / f"{path.stem}.tif", picture), picture)
    assert {("uint8", False, False), ("uint8", False, True)} < seen
    assert ("uint8", True, False) in seen
    assert ("uint16", True, False) in seen

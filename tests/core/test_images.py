import resource
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from omgsr.core import images
from omgsr.core.image_files import ImageError

RED = np.full((6, 9, 3), (200, 40, 10), np.uint8)
RAMP = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)


def picture(side=64):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (side, side, 3), dtype=np.uint8)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.tiff"])
def test_lossless_files_come_back_as_they_were(tmp_path, name):
    np.testing.assert_array_equal(images.read_rgb(save(tmp_path / name, RAMP)), RAMP)


def test_webp_and_jpeg_come_back_close(tmp_path):
    for name in ("a.webp", "a.jpg", "a.JPEG"):
        got = images.read_rgb(save(tmp_path / name, RED, quality=95))
        assert np.abs(got.astype(int) - RED).max() <= 4


def test_grey_is_repeated(tmp_path):
    grey = RAMP[..., 0].copy()
    got = images.read_rgb(save(tmp_path / "grey.png", grey))
    np.testing.assert_array_equal(got, np.stack([grey] * 3, axis=-1))


def test_one_bit_is_black_and_white(tmp_path):
    bits = np.eye(8, dtype=bool)
    got = images.read_rgb(save(tmp_path / "bits.png", bits))
    np.testing.assert_array_equal(got[..., 0], bits * 255)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_rounded_not_clipped(tmp_path, suffix):
    levels = np.array([[0, 128, 129, 257 * 7, 257 * 100 + 128, 257 * 100 + 129, 65534, 65535]])
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(levels.astype(np.uint16)).save(path)
    expected = np.rint(levels / 257)
    np.testing.assert_array_equal(images.read_rgb(path)[..., 1], expected)


def test_16_bit_colour_keeps_its_levels(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(png_16_bit_rgb(RAMP.astype(np.uint16) * 257))
    np.testing.assert_array_equal(images.read_rgb(path), RAMP)


def png_16_bit_rgb(pixels):
    """Pillow reads 16-bit colour PNG but does not write it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = pixels.shape[:2]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def test_alpha_is_composited_on_white(tmp_path):
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[0, :, 3] = 0, 128, 255
    got = images.read_rgb(save(tmp_path / "alpha.png", rgba))
    assert got[0, 0].tolist() == [255, 255, 255]
    assert np.abs(got[0, 1].astype(int) - [227, 127, 127]).max() <= 1
    assert got[0, 2].tolist() == [200, 0, 0]


def test_grey_with_alpha_is_composited_on_white(tmp_path):
    path = tmp_path / "la.png"
    Image.merge("LA", [Image.new("L", (2, 2), 50), Image.new("L", (2, 2), 0)]).save(path)
    assert (images.read_rgb(path) == 255).all()


def test_palette_with_a_transparent_colour(tmp_path):
    path = tmp_path / "palette.png"
    image = Image.fromarray(RED).quantize(4)
    image.save(path)
    assert np.abs(images.read_rgb(path).astype(int) - RED).max() <= 1
    image.save(path, transparency=image.getpixel((0, 0)))
    assert (images.read_rgb(path) == 255).all()


def test_cmyk_jpeg_has_its_colours_and_not_their_negative(tmp_path):
    path = save(tmp_path / "cmyk.jpg", RED, "CMYK", quality=95)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
        assert "adobe" in image.info  # the marker that says: stored inverted
    assert np.abs(images.read_rgb(path).astype(int) - RED).max() <= 5


def test_cmyk_tiff(tmp_path):
    got = images.read_rgb(save(tmp_path / "cmyk.tif", RED, "CMYK"))
    assert np.abs(got.astype(int) - RED).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (6, lambda a: np.rot90(a, -1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "turned.png", RAMP, exif=exif)
    np.testing.assert_array_equal(images.read_rgb(path), turned(RAMP))


def test_16_bit_grey_can_be_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(RAMP[..., 0].astype(np.uint16) * 257).save(path, exif=exif)
    assert images.read_rgb(path).shape == (9, 6, 3)


def test_a_phone_picture_with_previews_is_its_first_picture(tmp_path):
    path = tmp_path / "phone.jpg"
    preview = Image.fromarray(RED[:3, :3])
    Image.fromarray(RED).save(path, format="MPO", save_all=True, append_images=[preview])
    assert images.read_rgb(path).shape == RED.shape


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_animations_and_pages_are_refused(tmp_path, suffix):
    path = tmp_path / f"moving{suffix}"
    frames = [Image.fromarray(RED), Image.fromarray(RAMP)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"moving.*2 frames or pages.*save one"):
        images.read_rgb(path)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_32_bit_pixels_are_refused(tmp_path, kind):
    path = save(tmp_path / "deep.tif", RAMP[..., 0].astype(kind))
    with pytest.raises(ImageError, match=r"deep\.tif: pixels are 32-bit.*convert"):
        images.read_rgb(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_empty_and_foreign_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(b"")
    with pytest.raises(ImageError, match=rf"bad\{suffix}: is empty \(0 bytes\)"):
        images.read_rgb(path)
    path.write_text("<html>404 Not Found</html>")
    with pytest.raises(ImageError, match=rf"bad\{suffix}: is damaged or not an image"):
        images.read_rgb(path)


@pytest.mark.filterwarnings("ignore")  # Pillow warns about some of the cuts before it fails
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif"])
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"cut{suffix}", picture())
    data = path.read_bytes()
    for length in np.linspace(1, 0.9 * len(data), 40).astype(int):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError, match=rf"cut\{suffix}: is damaged"):
            images.read_rgb(path)


def test_a_png_with_flipped_bytes_is_refused(tmp_path):
    path = save(tmp_path / "flipped.png", picture())
    data = bytearray(path.read_bytes())
    data[2000:2100] = bytes(255 - value for value in data[2000:2100])
    path.write_bytes(data)
    with pytest.raises(ImageError, match=r"flipped\.png: is damaged"):
        images.read_rgb(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png: no such image file"):
        images.read_rgb(tmp_path / "none.png")
    with pytest.raises(ImageError, match="cannot be read: Is a directory"):
        images.read_rgb(tmp_path)


def test_the_size_limit_says_how_to_raise_it(tmp_path, monkeypatch):
    path = save(tmp_path / "large.png", picture(64))
    monkeypatch.setenv("OMGSR_MAX_PIXELS", "4095")
    with pytest.raises(ImageError, match=r"64 x 64 .* set OMGSR_MAX_PIXELS=4096"):
        images.read_rgb(path)
    monkeypatch.setenv("OMGSR_MAX_PIXELS", "4096")
    assert images.read_rgb(path).shape == (64, 64, 3)
    monkeypatch.setenv("OMGSR_MAX_PIXELS", "many")
    with pytest.raises(ImageError, match="whole number of pixels, got 'many'"):
        images.read_rgb(path)


def test_a_decompression_bomb_is_refused_by_its_header(tmp_path):
    path = tmp_path / "bomb.png"
    data = bytearray(png_16_bit_rgb(np.zeros((1, 1, 3), np.uint16)))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(data)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ImageError, match="3,600,000,000 pixels, over the limit"):
        images.read_rgb(path)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_png_bytes_depend_on_the_pixels_alone(tmp_path):
    for name in ("a.png", "deep/er/b.png"):
        images.write_png(tmp_path / name, RAMP)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "deep/er/b.png").read_bytes()
    np.testing.assert_array_equal(images.read_rgb(tmp_path / "a.png"), RAMP)


def test_only_bytes_can_be_written(tmp_path):
    with pytest.raises(ValueError, match="takes uint8 pixels, got float32"):
        images.write_png(tmp_path / "a.png", RAMP.astype(np.float32))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.png"
    images.write_png(path, RAMP)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"no room to write it .*free some space.*a\.png"):
            images.write_png(path, picture(256))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tensors_hold_every_level_exactly():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor = images.to_tensor(levels)
    assert tensor.shape == (3, 16, 16)
    assert tensor.dtype == torch.float32
    assert (tensor.min().item(), tensor.max().item()) == (-1.0, 1.0)
    np.testing.assert_array_equal(images.to_array(tensor), levels)


def test_tensors_keep_rows_columns_and_channels_apart():
    tensor = images.to_tensor(RAMP)
    assert tensor[2, 4, 7].item() == pytest.approx(RAMP[4, 7, 2] / 127.5 - 1, abs=1e-6)


def test_arrays_are_rounded_and_clamped():
    column = torch.tensor([-9.0, -1.0, 0.0039, 1.0, 9.0]).view(1, 5, 1).expand(3, 5, 1)
    assert images.to_array(column.half())[:, 0, 0].tolist() == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 4), (1, 4, 4, 3)])
def test_only_three_channels_become_tensors(shape):
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\)"):
        images.to_tensor(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match=r"expected \(3, H, W\)"):
        images.to_array(torch.zeros(shape))


def test_upscale_is_bicubic_and_keeps_flat_colours():
    assert images.upscale(RED, 4).shape == (24, 36, 3)
    assert (images.upscale(RED, 4) == RED[0, 0]).all()
    reference = Image.fromarray(RAMP).resize((27, 18), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(images.upscale(RAMP, 3), np.asarray(reference))


def test_images_are_listed_at_every_depth_and_in_any_case(tmp_path):
    wanted = ["B.PNG", "a.png", "deep/er/c.JPeG", "deep/d.tif", "e.WebP"]
    for name in [*wanted, "notes.txt", ".hidden.png", "._B.PNG", ".cache/f.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = images.list_images(tmp_path)
    assert listed == sorted(tmp_path / name for name in wanted)


def test_links_to_folders_are_followed(tmp_path):
    save_to = tmp_path / "elsewhere"
    save_to.mkdir()
    save(save_to / "a.png", RED)
    (tmp_path / "set").mkdir()
    (tmp_path / "set/link").symlink_to(save_to)
    assert images.list_images(tmp_path / "set") == [tmp_path / "set/link/a.png"]


def test_folders_without_images_are_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match="holds no image; looked at every depth"):
        images.list_images(tmp_path)
    with pytest.raises(ImageError, match="no such folder"):
        images.list_images(tmp_path / "none")


@pytest.mark.real
def test_real_files_of_all_formats(real_data):
    folder = real_data / "formats"
    for path in images.list_images(folder):
        array = images.read_rgb(path)
        assert array.dtype == np.uint8
        assert array.std() > 10, path
    grey = images.read_rgb(folder / "wolf_gray.jpg")
    assert (grey == grey[..., :1]).all()
    # The cut-out trees stand on white, which shows at the transparent corners.
    assert (images.read_rgb(folder / "tree_alpha_16bit.png")[0, 0] == 255).all()

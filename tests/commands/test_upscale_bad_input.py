"""`omgsr upscale` on what cannot be restored: it is named, the others are finished, exit 1."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from omgsr.cli import main
from omgsr.method import run_card
from tests.helpers import models
from tests.method.test_adapter_travel import release
from tests.method.test_run_card import fields

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
STILL = "holds 2 frames or pages, a still image is needed; save one of them"


def header_of_a_gigapixel() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"\0"))


def write_bad(folder: Path) -> dict[str, str]:
    """Files that cannot be restored, with what is said of each."""
    frames = [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())]
    for name in ("moving.png", "moving.webp", "pages.tif", "moving.gif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.jpg").touch()
    (folder / "page.webp").write_text("<html>404 Not Found</html>")
    (folder / "giga.png").write_bytes(header_of_a_gigapixel())
    (folder / "lost.png").symlink_to(folder / "nowhere.png")
    (folder / "text.xyz").write_text("hello")
    Image.fromarray(PIXELS[..., 0].astype(np.float32)).save(folder / "float.tif")
    return {
        **dict.fromkeys(("moving.png", "moving.webp", "pages.tif", "moving.gif"), STILL),
        "cut.png": "is damaged or not an image",
        "zero.jpg": "is empty (0 bytes); replace the file",
        "page.webp": "is damaged or not an image",
        "giga.png": "60000 x 60000 is 3,600,000,000 pixels, over the limit of 100,000,000; set "
        "OMGSR_MAX_PIXELS=3600000000 to read it",
        "lost.png": "no such image file",
        "text.xyz": "is damaged or not an image",
        "float.tif": "pixels are 32-bit (F)",
    }


def test_all_that_is_bad_is_named_and_the_others_are_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "deep").mkdir(parents=True)
    for name in ("good.png", "deep/good.jpg", "z.bmp"):
        Image.fromarray(PIXELS).save(folder / name)
    bad = write_bad(folder)
    outside = [folder / "moving.gif", folder / "text.xyz"]  # a folder's own search leaves them out
    given = [folder, *outside, "-o", out, "--method", "bicubic", "--scale", "2"]
    assert main(["upscale", *map(str, given)]) == 1
    said = capsys.readouterr()
    for name, reason in bad.items():
        assert f"{folder / name}: {reason}" in said.err + said.out, name
    assert f"3 restored, {len(bad)} failed" in said.out
    found = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert sorted(found) == ["deep/good.png", "good.png", "omgsr-upscale.json", "z.png"]
    for name in ("deep/good.png", "good.png", "z.png"):
        with Image.open(out / name) as image:
            assert image.size == (64, 48)
    record = json.loads((out / "omgsr-upscale.json").read_text())["images"]
    assert sum(bool(one["error"]) for one in record.values()) == len(bad)


@pytest.mark.parametrize("output", ["file", "file/below"])
def test_an_output_folder_that_cannot_be_is_said_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "file").write_text("mine")
    given = [tmp_path / "a.png", "-o", tmp_path / output, "--method", "bicubic"]
    assert main(["upscale", *map(str, given)]) == 1
    assert f"must be a folder, and {tmp_path / 'file'} is a file" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_adapters_that_are_not_what_they_should_be_write_nothing(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    other = models.write_foundation(tmp_path / "other")
    about = json.loads((other / "foundation.json").read_text())
    (other / "foundation.json").write_text(json.dumps({**about, "sha256": "0" * 64}))
    for name in ("card", "file", "run"):
        model = models.generator(tiny, 321, trained=0.1)
        run_card.save(model, tmp_path / name, fields(tiny, scale=2))
    card = json.loads((tmp_path / "card/omgsr.json").read_text())
    card["adapters"]["unet_lora_adapter"] = "0" * 64
    (tmp_path / "card/omgsr.json").write_text(json.dumps(card))
    weights = tmp_path / "file/vae_encoder_lora_adapter/adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    cases = [
        ("card", tiny, "unet_lora_adapter: not the adapter that the card describes"),
        ("file", tiny, "vae_encoder_lora_adapter: not the adapter that the card describes"),
        ("run", other, "holds 000000000000; use that foundation"),
    ]
    for name, foundation, message in cases:
        given = [tmp_path / "a.png", "-o", tmp_path / "out", "--model", tmp_path / name,
                 "--foundation", foundation, "--device", "cpu"]  # fmt: skip
        assert main(["upscale", *map(str, given)]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_released_adapters_of_another_backbone_are_named(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a card the shapes tell."""
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    folder = release(tiny, tmp_path / "released")
    file = folder / "unet_lora_adapter/adapter_model.safetensors"
    state = load_file(file)
    name = min(key for key in state if "lora_A" in key)
    state[name] = state[name].repeat_interleave(2, dim=1)
    save_file(state, file)
    given = [tmp_path / "a.png", "-o", tmp_path / "out", "--model", folder, "--timestep", "273",
             "--foundation", tiny, "--device", "cpu"]  # fmt: skip
    assert main(["upscale", *map(str, given)]) == 1
    assert "made for another backbone" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

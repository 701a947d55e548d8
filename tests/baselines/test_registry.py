"""The registry of methods, and the two interpolations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from omgsr.baselines import registry
from omgsr.baselines.realesrgan import RealESRGAN
from omgsr.baselines.resampling import Resampling
from omgsr.core import fingerprint, images
from tests.baselines.test_realesrgan import network, released

FILTERS = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}


def noise(height: int, width: int, kind: type = np.uint8) -> NDArray[Any]:
    rng = np.random.default_rng(height + 1000 * width)
    return rng.integers(0, np.iinfo(kind).max + 1, (height, width, 3), dtype=kind)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_bicubic_of_8_bits_is_that_of_the_pipeline(scale: int) -> None:
    image = noise(13, 7)
    found = Resampling("bicubic")([image], (13 * scale, 7 * scale))[0]
    np.testing.assert_array_equal(np.rint(found * 255), images.upscale(image, scale))


@given(
    st.sampled_from(sorted(FILTERS)), st.sampled_from([np.uint8, np.uint16]),
    st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 90)] * 2),
)  # fmt: skip
def test_any_size_in_range_and_as_pillow_has_it(
    kind: Any, depth: type, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    image = noise(*shape, depth)
    found = Resampling(kind)([image, image], size)
    assert [(f.shape, f.dtype) for f in found] == [((*size, 3), np.dtype(np.float32))] * 2
    assert found[0].min() >= 0
    assert found[0].max() <= 1
    if depth == np.uint8:  # in 8 bits after each of Pillow's two passes
        exact = np.asarray(Image.fromarray(image).resize(size[::-1], FILTERS[kind]))
        np.testing.assert_array_equal(np.rint(found[0] * 255), exact)
    else:
        channels = [
            Image.fromarray(image[..., c].astype(np.float32)).resize(size[::-1], FILTERS[kind])
            for c in range(3)
        ]
        wanted = (np.stack(channels, 2) / 65535).clip(0, 1)
        np.testing.assert_allclose(found[0], wanted, atol=1e-5)


def test_16_bits_are_more_than_8() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)
    image = np.repeat(np.repeat(ramp[None, :, None], 8, 0), 3, 2)
    found = Resampling("lanczos")([image], (32, 256))[0]
    assert len(np.unique(np.rint(found[16, :, 0] * 65535))) > 200
    line = np.interp((np.arange(256) + 0.5) / 4 - 0.5, np.arange(64), ramp / 65535)
    np.testing.assert_allclose(found[16, 8:-8, 0], line[8:-8], atol=2e-3)


def test_pixels_of_other_kinds_are_refused() -> None:
    for image in (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint16)):
        with pytest.raises(ValueError, match=r"expected uint8 or uint16 \(h, w, 3\)"):
            Resampling("lanczos")([image], (8, 8))


def test_methods_are_loaded_by_name(tmp_path: Path) -> None:
    assert registry.NAMES == ("bicubic", "lanczos", "realesrgan", "osediff", "pisasr")
    for name in ("bicubic", "lanczos"):
        found = registry.load(name, device="cpu", color="none")
        assert found([noise(4, 6)], (9, 11))[0].shape == (9, 11, 3)
    file = released(tmp_path, network())
    made = registry.load("realesrgan", path=file, device=torch.device("cpu"), dtype="bf16")
    assert isinstance(made, RealESRGAN)
    assert made.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bicubik", {}, "method 'bicubik' is unknown; allowed: bicubic, lanczos, realesrgan"),
        ("folder", {"path": "."}, "method 'folder' is unknown"),
        ("lanczos", {"path": "x.pth"}, "lanczos has no weights; leave its path out"),
        ("lanczos", {"dtype": "bf16"}, "lanczos takes no option dtype; allowed: none"),
        ("realesrgan", {"lambda_pix": 1}, "takes no option lambda_pix; allowed: dtype"),
        ("realesrgan", {}, r"xinntao/Real-ESRGAN on GitHub .*Licence: BSD-3-Clause"),
        ("osediff", {}, r"osediff\.pkl.*cswry/OSEDiff on GitHub.*Licence: Apache-2\.0"),
        ("pisasr", {}, r"pisa_sr\.pkl.*csslc/PiSA-SR.*the repository has no licence file"),
        ("osediff", {"path": "none.pkl"}, r"none\.pkl: not there; osediff needs `path`"),
        ("osediff", {"path": "."}, "osediff needs a foundation of SD2.1-base"),
    ],
)
def test_mistakes_say_what_to_do(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        registry.load(name, device="cpu", **options)


def test_names_are_known_without_torch() -> None:
    code = "import sys, omgsr.baselines.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_fingerprint_sees_bytes_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "c.bin").write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert fingerprint.sha256(folder / "b" / "c.bin") == abc
    whole = fingerprint.sha256(folder)
    (folder / "b" / "c.bin").rename(folder / "b" / "d.bin")
    assert fingerprint.sha256(folder) != whole
    folder.rename(tmp_path / "z")
    (tmp_path / "z" / "b" / "d.bin").rename(tmp_path / "z" / "b" / "c.bin")
    assert fingerprint.sha256(tmp_path / "z") == whole
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        fingerprint.sha256(folder)

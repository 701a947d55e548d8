"""Real-ESRGAN on miniatures of its released files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from omgsr.baselines import realesrgan
from omgsr.baselines.realesrgan import ArchitectureError, RealESRGAN, build, read
from omgsr.core import images
from omgsr.core.safe_pickle import UnsafeFile
from omgsr.data import photographs


def network(scale: int = 4, features: int = 8, blocks: int = 2, growth: int = 4) -> nn.Module:
    """An RRDBNet of random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(scale)
        return realesrgan.network()(
            3, 3, scale=scale, num_feat=features, num_block=blocks, num_grow_ch=growth
        ).eval()


def picture(height: int, width: int, kind: type = np.uint8) -> NDArray[Any]:
    rng = np.random.default_rng(height * width)
    return rng.integers(0, np.iinfo(kind).max + 1, (height, width, 3), dtype=kind)


def released(folder: Path, model: nn.Module) -> Path:
    """A .pth as the project releases them."""
    other = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    torch.save({"params": other, "params_ema": model.state_dict()}, folder / "model.pth")
    return folder / "model.pth"


@torch.inference_mode()
def plain(model: nn.Module, image: NDArray[Any]) -> NDArray[np.float32]:
    """The network on one image whose sides it takes."""
    x = torch.from_numpy(image.astype(np.float32) / np.iinfo(image.dtype).max)
    out = model(x.permute(2, 0, 1)[None])[0].clamp(0, 1).permute(1, 2, 0)
    return np.asarray(out)


@pytest.mark.parametrize("scale", [4, 2, 1])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_a_released_file_is_the_network(tmp_path: Path, scale: int, kind: type) -> None:
    model = network(scale)
    method = RealESRGAN.from_file(released(tmp_path, model))
    assert method.scale == scale
    images = [picture(12, 8, kind), picture(12, 8, kind)[::-1].copy()]
    for found, image in zip(method(images, (12 * scale, 8 * scale)), images, strict=True):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, plain(model, image), atol=1e-6)


def test_the_released_sizes_are_recognised() -> None:
    """23 blocks of 64 features are x4plus; its 16.7 M weights are known."""
    state = network(4, 64, 23, 32).state_dict()
    made = build(state, Path("x"))
    assert sum(p.numel() for p in made.parameters()) == 16_697_987
    assert sum(p.numel() for p in network(2, 64, 23, 32).parameters()) == 16_703_171
    assert sum(p.numel() for p in network(4, 64, 6, 32).parameters()) == 4_467_779


def test_every_layout_of_a_file_is_read(tmp_path: Path) -> None:
    model = network()
    state = model.state_dict()
    files = [tmp_path / name for name in ("ema.pth", "params.pth", "bare.pth", "a.safetensors")]
    torch.save({"params": {}, "params_ema": state}, files[0])
    torch.save({"params": state}, files[1])
    torch.save(state, files[2])
    save_file(state, files[3])
    for file in files:
        found = read(file)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("size", [(5, 7), (1, 9), (9, 1), (2, 2)])
def test_x2_takes_odd_sizes_and_gives_any(size: tuple[int, int]) -> None:
    model = network(2)
    method, image = RealESRGAN(model), picture(*size)
    double = size[0] * 2, size[1] * 2
    assert method([image], double)[0].shape == (*double, 3)
    mode = "reflect" if min(size) > 1 else "edge"
    padded = np.pad(image, ((0, -size[0] % 2), (0, -size[1] % 2), (0, 0)), mode=mode)  # type: ignore[call-overload]
    wanted = plain(model, padded)[: double[0], : double[1]]
    np.testing.assert_allclose(method([image], double)[0], wanted, atol=1e-6)


def test_other_sizes_are_lanczos_of_its_own() -> None:
    model = network()
    image, size = picture(10, 6), (27, 41)
    found = RealESRGAN(model)([image], size)[0]
    large = plain(model, image)
    channels = [
        Image.fromarray(large[..., c]).resize((41, 27), Image.Resampling.LANCZOS) for c in range(3)
    ]
    np.testing.assert_allclose(found, np.stack(channels, 2).clip(0, 1), atol=1e-5)
    assert found.shape == (27, 41, 3)


def test_bf16_is_near(tmp_path: Path) -> None:
    model, image = network(), picture(16, 16)
    file = released(tmp_path, model)
    found = RealESRGAN.from_file(file, dtype="bf16")([image], (64, 64))[0]
    exact = plain(model, image)
    assert found.dtype == np.float32
    assert 0 < np.abs(found - exact).max() < 0.05
    with pytest.raises(ValueError, match="dtype: got 'fp8', allowed: fp32, bf16"):
        RealESRGAN.from_file(file, dtype="fp8")


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    return images.read_rgb(photographs.locate("coffee"))[100 : 100 + height, 200 : 200 + width]


def counted(model: nn.Module) -> list[tuple[int, ...]]:
    """The shapes that the network is given from now on."""
    seen: list[tuple[int, ...]] = []
    model.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    return seen


@pytest.mark.parametrize(("scale", "height", "width"), [(4, 150, 97), (2, 281, 190), (1, 300, 222)])
def test_tiles_give_what_the_whole_gives(scale: int, height: int, width: int) -> None:
    model, image = network(scale), photograph(height, width)
    size = height * scale, width * scale
    whole = RealESRGAN(model, tile=1024)
    wanted = whole([image], size)[0]
    assert whole.tile_used is None
    seen = counted(model)
    method = RealESRGAN(model, tile=128)
    found = method([image], size)[0]
    assert method.tile_used == 128
    assert {shape[2:] for shape in seen} == {(128 // scale, 128 // scale)}
    assert found.shape == wanted.shape == (*size, 3)
    error = float(np.square(found.astype(np.float64) - wanted).mean())
    assert -10 * np.log10(error) > 60, "dB"
    assert method.notes == []


def test_a_batch_is_tiled_image_by_image() -> None:
    model = network()
    pair = [photograph(70, 90), photograph(90, 90)[20:]]
    method = RealESRGAN(model, tile=128)
    for found, image in zip(method(pair, (280, 360)), pair, strict=True):
        np.testing.assert_allclose(found, method([image], (280, 360))[0], atol=1e-6)
    wide = photograph(40, 40)
    assert method([wide, wide], (160, 160))[0].shape == (160, 160, 3)
    assert method.tile_used is None  # 160 x 160 is no more than four tiles


def test_tiles_follow_the_memory() -> None:
    pixel = 4 * 8 * 4  # maps, features, bytes
    model, image = network(), photograph(150, 150)
    method = RealESRGAN(model)
    method._tiles.free = 600 * 600 * (pixel + 60)
    seen = counted(model)
    method([image, image], (600, 600))
    assert method.tile_used is None
    assert [shape[0] for shape in seen] == [1, 1]  # memory takes one at a time
    method._tiles.free = 4 * 100 * 100 * pixel + 600 * 600 * 24
    method([image], (600, 600))
    assert method.tile_used == 100


def test_out_of_memory_halves_the_tile() -> None:
    model, image = network(), photograph(150, 150)
    wanted = RealESRGAN(model, tile=1024)([image], (600, 600))[0]

    def fail(_: nn.Module, given: tuple[torch.Tensor]) -> None:
        if given[0].numel() > 3 * 40 * 40:
            raise RuntimeError("could not create a primitive")  # oneDNN's words for it

    hook = model.register_forward_pre_hook(fail)
    method = RealESRGAN(model, tile=512)
    found = method([image, image], (600, 600))
    assert method.notes[0] == "out of memory: 2 images restored one by one"
    assert method.notes[1] == "out of memory: went on with tiles of 148 pixels"
    assert method.tile_used == 148
    assert np.abs(found[1] - wanted).max() < 0.01
    hook.remove()
    model.register_forward_pre_hook(lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(MemoryError, match="600 x 600 pixels take more memory than cpu has free"):
        method([image], (600, 600))


def test_a_large_image_stays_within_the_memory() -> None:
    """In a process of its own: what is held at most, beside what torch holds anyway."""
    code = """
import re, sys
from pathlib import Path
import numpy as np
from tests.baselines.test_realesrgan import RealESRGAN, network
def peak():
    said = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", said)[1]) / 1024
method = RealESRGAN(network(4, 64, 1, 32))
method._tiles.free = 2**28
method([np.zeros((16, 16, 3), np.uint8)], (64, 64))
before = peak()
method([np.zeros((320, 320, 3), np.uint8)], (1280, 1280))
assert method.tile_used, method.tile_used
print(peak() - before)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc on this system")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 256  # MiB; the whole at once takes 1370


def test_other_networks_are_refused(tmp_path: Path) -> None:
    state = network().state_dict()
    grey = {**state, "conv_first.weight": torch.zeros(8, 1, 3, 3)}
    cases = {
        "compact.pth": ({"params": {"body.0.weight": torch.zeros(64, 3, 3, 3)}}, "body.0.weight"),
        "old.pth": ({"model.0.weight": torch.zeros(64, 3, 3, 3)}, "model.0.weight"),
        "grey.pth": ({"params": grey}, "not an RRDBNet for colour images"),
        "less.pth": ({k: v for k, v in state.items() if "conv_hr" not in k}, "conv_hr"),
        "more.pth": ({**state, "extra": torch.zeros(1)}, "extra"),
        "none.pth": ({"params": {}}, "it holds nothing"),
        "text.pth": ({"params": {"a": "b"}}, "holds no weights under params_ema or params"),
        "list.pth": ([1], "holds no weights under params_ema or params"),
    }
    for name, (held, message) in cases.items():
        torch.save(held, tmp_path / name)
        with pytest.raises(ArchitectureError, match=message) as error:
            RealESRGAN.from_file(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
    torch.save(nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(UnsafeFile, match="Linear"):
        RealESRGAN.from_file(tmp_path / "module.pth")
    (tmp_path / "half.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        RealESRGAN.from_file(tmp_path / "half.safetensors")


def test_only_the_network_of_basicsr_is_loaded() -> None:
    """The package itself imports what no longer loads, and nothing of the stand-ins stays."""
    code = (
        "import sys; from omgsr.baselines.realesrgan import network; print(network().__module__);"
        "print([m for m in sys.modules if m.split('.')[0] == 'basicsr' or 'archs' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["omgsr.core.basicsr_shim.archs.rrdbnet_arch", "[]"]

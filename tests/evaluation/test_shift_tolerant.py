"""ST-LPIPS, a learned metric whose weights come with a requirement: where its file is from, and its
values. PyIQA's with these files gives 0.7777554988861084 for the example in its authors' README.
"""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from skimage import data

from omgsr import config
from omgsr.core import images, seeding
from omgsr.data.degradation import degrade
from omgsr.evaluation import contract, metric_table, metrics
from tests.helpers import weights

FILES = {"stlpips": "alex_shift_tolerant.pth", "stlpips-vgg": "vgg_shift_tolerant.pth"}
DIGESTS = {
    "stlpips": ("b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee", 9899296),
    "stlpips-vgg": ("44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250", 58907298),
}


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """Neither a mirror nor anything in the caches; => where a mirror can be."""
    monkeypatch.delenv("OMGSR_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "mirror"


def uninstall(monkeypatch):
    """The package is absent, as the finder says it."""
    find = metric_table.find_spec
    monkeypatch.setattr(
        metric_table, "find_spec", lambda name: None if name == "stlpips_pytorch" else find(name)
    )


def carried(name):
    return metric_table.inside("stlpips_pytorch", "weights", "vST0.0", FILES[name])


def tensor(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255


def photograph(side=192):
    image = data.chelsea()
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return Image.fromarray(image[top : top + side, left : left + side])


def small_and_back(picture, factor):
    size = picture.width // factor, picture.height // factor
    return picture.resize(size, Image.BICUBIC).resize(picture.size, Image.BICUBIC)


# --- where the file is from ---


@pytest.mark.parametrize("name", FILES)
def test_the_requirement_carries_the_file_and_is_not_imported(name, bare):
    metric = metrics.load(name)
    told = contract.contract([metric], "cpu", 0)["metrics"][name]
    sha256, size = DIGESTS[name]
    assert told["weights"] == [{"file": FILES[name], "sha256": sha256, "bytes": size}]
    assert (told["architecture"], told["better"]) == ("STLPIPS", "lower")
    assert told["full_reference"]
    assert "stlpips_pytorch" not in sys.modules


@pytest.mark.parametrize("name", FILES)
def test_it_is_pyiqas_own(name, bare):
    """PyIQA's loading fills in what it finds, and makes the whole of VGG."""
    from pyiqa import create_metric

    plain = create_metric(name, device="cpu", pretrained_model_path=str(carried(name)))
    metric = metrics.load(name)
    own, theirs = metric.model.net.state_dict(), plain.net.state_dict()
    assert list(own) == list(theirs)
    assert all(torch.equal(own[key], theirs[key]) for key in own)
    sr, hq = tensor(small_and_back(photograph(64), 4)), tensor(photograph(64))
    assert float(metric(sr, hq)) == pytest.approx(float(plain(sr, hq)), rel=1e-6)


def test_a_mirror_comes_first_then_the_cache_then_the_package(bare, monkeypatch):
    first = metrics.load("stlpips")
    state = torch.load(carried("stlpips"), map_location="cpu", weights_only=True)
    cached = Path(torch.hub.get_dir()) / "pyiqa" / FILES["stlpips"]
    in_cache = weights.save({key: value / 2 for key, value in state.items()}, cached)
    assert metrics.load("stlpips").weights[0].sha256 == in_cache
    monkeypatch.setenv("OMGSR_WEIGHTS", str(bare))
    mirrored = weights.save({key: value / 4 for key, value in state.items()}, bare / cached.name)
    metric = metrics.load("stlpips")
    assert [(one.file, one.sha256) for one in metric.weights] == [(cached.name, mirrored)]
    assert torch.equal(metric.model.net.lin0.model[1].weight * 4,
                       first.model.net.lin0.model[1].weight)  # fmt: skip


def test_without_the_package_the_message_says_what_to_do(bare, monkeypatch):
    uninstall(monkeypatch)
    loaded, missing = metrics.load_all(["stlpips", "stlpips-vgg", "niqe"])
    assert [one.name for one in loaded] == ["niqe"]
    for name, file in FILES.items():
        for text in (file, "stlpips_pytorch is not installed; run `make install`", "OMGSR_WEIGHTS"):
            assert text in missing[name]


def test_without_the_package_a_mirror_will_do(bare, monkeypatch):
    bare.mkdir()
    (bare / FILES["stlpips"]).symlink_to(carried("stlpips"))
    uninstall(monkeypatch)
    monkeypatch.setenv("OMGSR_WEIGHTS", str(bare))
    (read,) = metrics.load("stlpips").weights
    assert (read.sha256, read.bytes) == DIGESTS["stlpips"]


def test_a_file_that_lacks_weights_is_refused(bare, monkeypatch):
    """PyIQA would score with random ones."""
    state = torch.load(carried("stlpips"), map_location="cpu", weights_only=True)
    state.pop("lin3.model.1.weight")
    weights.save(state, bare / FILES["stlpips"])
    monkeypatch.setenv("OMGSR_WEIGHTS", str(bare))
    with pytest.raises(metrics.MetricError, match=r"cannot read alex_.*not in it: lin3\.model"):
        metrics.load("stlpips")


# --- values ---


@pytest.mark.parametrize(
    ("name", "blurred", "reduced"),
    [("stlpips", 0.178499, 0.400220), ("stlpips-vgg", 0.310965, 0.546759)],
)
def test_values_of_a_photograph(name, blurred, reduced, bare):
    """To 1e-4: Pillow computes with integers, the network with float32 in the processor's order."""
    metric, hq = metrics.load(name), photograph()
    assert float(metric(tensor(hq), tensor(hq))) == 0
    soft = hq.filter(ImageFilter.BoxBlur(1))
    found = [float(metric(tensor(x), tensor(hq))) for x in (soft, small_and_back(hq, 4))]
    assert found == pytest.approx([blurred, reduced], rel=1e-4)


@pytest.mark.real
@pytest.mark.parametrize(("preset", "expected"), [("realesrgan", 0.6513), ("light", 0.6184)])
def test_bicubic_on_kodak(preset, expected, real_data, checkout, bare):
    """The mean over the 24 centre crops of 256.

    To 0.003: what degrades adds floats too, and a pixel that is rounded the other way counts.
    """
    numbers = config.load(checkout).degradation[preset]
    metric, found = metrics.load("stlpips"), []
    for path in sorted((real_data / "kodak").glob("*.png")):
        whole = images.read_rgb(path)
        top, left = (side // 2 - 128 for side in whole.shape[:2])
        hq = whole[top : top + 256, left : left + 256]
        lq = degrade(hq, numbers, seeding.rng(0, "degrade", path.stem), 4)
        found.append(float(metric(tensor(images.upscale(lq, 4)), tensor(hq))))
    assert len(found) == 24
    assert np.mean(found) == pytest.approx(expected, abs=3e-3)


@pytest.mark.real
@pytest.mark.slow
def test_it_measures_as_the_published_lpips_does(real_data, bare):
    """OSEDiff's pictures of 20 of RealSR's pairs; LPIPS on AlexNet is its authors'."""
    folder, metric = real_data / "osediff_realsr", metrics.load("stlpips")
    with open(folder / "scores.csv", newline="") as handle:
        lpips = {row["image"]: float(row["lpips"]) for row in csv.DictReader(handle)}
    found, published = [], []
    for path in sorted(folder.glob("*.png")):
        hq = images.read_rgb(real_data / "realsr/test_HR" / path.name)
        found.append(float(metric(tensor(images.read_rgb(path)), tensor(hq))))
        published.append(lpips[path.name])
    assert len(found) == 20
    assert np.mean(found) == pytest.approx(0.2460, abs=1e-4)
    assert np.corrcoef(found, published)[0, 1] > 0.8

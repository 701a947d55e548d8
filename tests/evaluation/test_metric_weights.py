"""Weights from a mirror folder: random ones, in the files that PyIQA reads, without a network."""

import json
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torchvision
from PIL import Image
from torch import nn

from omgsr.data import manifest
from omgsr.evaluation import contract, fid, metrics, scoring
from tests.helpers import weights


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """An empty mirror, and caches that hold nothing."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setenv("OMGSR_WEIGHTS", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (9, 9, 3), dtype=np.uint8) for _ in range(8)]
    return [np.array(Image.fromarray(x).resize((90, 70), Image.Resampling.BICUBIC)) for x in coarse]


def tensors(count=2, side=64):
    x = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))
    return x.split(1)


def backbone(name, folder, stem, monkeypatch):
    """A file of torchvision in the mirror, whose address torchvision is told."""
    file, _ = weights.backbone(name, folder, stem)
    entry = {"alexnet": "AlexNet_Weights", "vgg16": "VGG16_Weights"}[name]
    chosen = getattr(torchvision.models, entry).IMAGENET1K_V1.value
    monkeypatch.setattr(chosen, "url", f"https://download.pytorch.org/models/{file}")
    return file


def names(metric):
    return [one.file for one in metric.weights]


# --- files of one metric after the other ---


def test_lpips_takes_both_of_its_files(mirror, monkeypatch):
    file = backbone("alexnet", mirror, "alexnet-owt", monkeypatch)
    with pytest.raises(metrics.MetricError, match=r"LPIPS_v0\.1_alex-df73285e\.pth is not on"):
        metrics.load("lpips")
    lins = {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1)
            for i, c in enumerate((64, 192, 384, 256, 256))}  # fmt: skip
    weights.save(lins, mirror / "LPIPS_v0.1_alex-df73285e.pth")
    metric = metrics.load("lpips")
    assert names(metric) == [file, "LPIPS_v0.1_alex-df73285e.pth"]
    assert torch.equal(metric.model.net.lin3.model[1].weight, lins["lin3.model.1.weight"])
    sr, hq = tensors()
    assert float(metric(sr, hq)) > 0
    assert float(metric(sr, sr)) == 0
    told = contract.contract([metric], "cpu", 0)["metrics"]["lpips"]
    assert told["weights"][0]["sha256"].startswith(file[-12:-4])
    assert told["options"] == {"net": "alex", "version": "0.1"}
    assert told["colour"] == {"space": "rgb", "test_y_channel": False}


def test_dists_takes_its_file(mirror, monkeypatch):
    file = backbone("vgg16", mirror, "vgg16", monkeypatch)
    state = {n: torch.rand(1, 1475, 1, 1) for n in ("alpha", "beta")}
    weights.save(state, mirror / "DISTS_weights-f5e65c96.pth")
    metric = metrics.load("dists")
    assert names(metric) == [file, "DISTS_weights-f5e65c96.pth"]
    sr, hq = tensors()
    assert float(metric(sr, hq)) > float(metric(sr, sr)) == pytest.approx(0, abs=1e-5)


def test_nima_needs_nothing_of_timms(mirror):
    import timm

    base = timm.create_model("inception_resnet_v2", pretrained=False, features_only=True)
    head = nn.Linear(1536, 10)
    state = {f"base_model.{n}": v for n, v in base.state_dict().items()}
    state |= {f"classifier.2.{n}": v for n, v in head.state_dict().items()}
    weights.save({"params": weights.thin(state)}, mirror / "NIMA_InceptionV2_ava-b0c77c00.pth")
    metric = metrics.load("nima")
    assert names(metric) == ["NIMA_InceptionV2_ava-b0c77c00.pth"]
    assert torch.equal(metric.model.net.classifier[2].bias, head.bias)
    assert 1 <= float(metric(tensors(1, 96)[0])) <= 10


def test_musiq_takes_its_file(mirror):
    from pyiqa.archs.musiq_arch import MUSIQ

    weights.save(
        weights.thin(MUSIQ(pretrained=False).state_dict()),
        mirror / "musiq_koniq_ckpt-e95806b9.pth",
    )
    metric = metrics.load("musiq")
    assert names(metric) == ["musiq_koniq_ckpt-e95806b9.pth"]
    assert torch.isfinite(metric(tensors(1, 96)[0]))


RESNET, VIT = ((1, 1, 1, 1), 64, None), (1, 64, 32)


def test_clipiqa_and_its_learned_prompts(mirror, monkeypatch):
    from pyiqa.archs import clip_model

    digest = weights.clip(mirror, "RN50.pt", RESNET)
    monkeypatch.setitem(clip_model._MODELS, "RN50", f"https://x/{digest}/RN50.pt")
    x = tensors(1, 96)[0]
    plain = metrics.load("clipiqa")
    assert names(plain) == ["RN50.pt"]
    with pytest.raises(metrics.MetricError, match=r"CLIP-IQA\+_learned_prompts-603f3273\.pth"):
        metrics.load("clipiqa+")
    file = "CLIP-IQA+_learned_prompts-603f3273.pth"
    weights.save(torch.randn(2, 16, 64), mirror / file)
    learned = metrics.load("clipiqa+")
    assert names(learned) == ["RN50.pt", file]
    cached = torch.hub.get_dir() + "/pyiqa/CLIP-IQA%2B_learned_prompts-603f3273.pth"  # PyIQA's way
    weights.save(torch.zeros(2, 16, 64), Path(cached))
    assert metrics.load("clipiqa+").weights == learned.weights  # the mirror comes first
    (mirror / file).unlink()
    assert names(metrics.load("clipiqa+")) == ["RN50.pt", file]
    assert 0 < float(plain(x)) < 1
    assert 0 < float(learned(x)) < 1


def test_liqe_believes_no_text_features_of_an_earlier_program(mirror, tmp_path, monkeypatch):
    from pyiqa.archs import clip_model

    digest = weights.clip(mirror, "ViT-B-32.pt", VIT)
    monkeypatch.setitem(clip_model._MODELS, "ViT-B/32", f"https://x/{digest}/ViT-B-32.pt")
    with warnings.catch_warnings(action="ignore"):
        clip = clip_model.load(str(mirror / "ViT-B-32.pt"), "cpu")
    state = {f"clip_model.{name}": value for name, value in clip.state_dict().items()}
    weights.save({"params": state}, mirror / "liqe_koniq.pt")
    left = tmp_path / "home" / "hub" / "pyiqa" / "liqe_text_feat.pt"
    weights.save(torch.full((5, 64), float("nan")), left)
    metric = metrics.load("liqe")
    assert names(metric) == ["ViT-B-32.pt", "liqe_koniq.pt"]
    assert 1 <= float(metric(tensors(1, 224)[0])) <= 5
    (scored,) = scoring.score([metric], picture(tmp_path, 223))
    assert "under the 224 pixels" in scored.notes[0]


def picture(folder, side):
    Image.fromarray(np.full((side, side, 3), 99, np.uint8)).save(folder / "a.png")
    return [scoring.Item(sr=folder / "a.png", row=manifest.Row(name="a"))]


def test_maniqa_needs_nothing_of_timms(mirror, monkeypatch):
    import timm
    from pyiqa.archs.maniqa_arch import MANIQA

    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **_: create(name))
    state = weights.thin(MANIQA(pretrained=False).state_dict())
    monkeypatch.undo()
    monkeypatch.setenv("OMGSR_WEIGHTS", str(mirror))
    weights.save(state, mirror / "MANIQA_PIPAL-ae6d356b.pth")
    metric = metrics.load("maniqa-pipal")
    assert names(metric) == ["MANIQA_PIPAL-ae6d356b.pth"]
    assert torch.equal(metric.model.net.vit.cls_token, state["vit.cls_token"])


def test_niqe_prefers_the_mirrors_file(mirror):
    own = metrics.load("niqe")
    metrics.niqe_parameters(mirror / "niqe_modelparameters.mat")
    metric = metrics.load("niqe")
    assert (names(own), names(metric)) == (["niqe_pris_params.npz"], ["niqe_modelparameters.mat"])
    x = tensors(1, 192)[0]
    assert metric(x) == own(x)


# --- what is refused ---


def test_another_file_under_a_published_name_is_refused(mirror):
    (mirror / "alexnet-owt-7be5be79.pth").write_bytes(b"something else")
    with pytest.raises(metrics.MetricError, match="is another file: its sha256 begins"):
        metrics.load("lpips")
    (mirror / "RN50.pt").write_bytes(b"something else")
    with pytest.raises(metrics.MetricError, match=r"RN50\.pt is another file"):
        metrics.load("clipiqa")


def test_code_in_a_file_is_not_run(mirror, tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    path = mirror / "musiq_koniq_ckpt-e95806b9.pth"
    torch.save({"a": Harm()}, path, pickle_module=pickle)
    with pytest.raises(metrics.MetricError, match="musiq: unavailable, PyIQA cannot read musiq"):
        metrics.load("musiq")
    assert not (tmp_path / "harm").exists()
    path.write_bytes(b"PK half of a file")
    _, missing = metrics.load_all(["musiq"])
    assert "cannot read musiq_koniq_ckpt-e95806b9.pth" in missing["musiq"]


def test_a_mirror_that_is_no_folder_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("OMGSR_WEIGHTS", str(tmp_path / "nowhere"))
    with pytest.raises(NotADirectoryError, match=r"OMGSR_WEIGHTS=.*nowhere: no folder"):
        metrics.load_all(["psnr"])


def test_nothing_of_ours_stays_behind(mirror):
    from pyiqa.utils import download_util

    before = torch.hub.get_dir(), download_util.DEFAULT_CACHE_DIR, torch.hub.download_url_to_file
    metrics.load_all(["musiq", "lpips", "liqe"])
    after = torch.hub.get_dir(), download_util.DEFAULT_CACHE_DIR, torch.hub.download_url_to_file
    assert after == before


# --- FID ---


def test_fid_is_pyiqas_features_and_the_definition(mirror, pictures, tmp_path):
    from pyiqa.archs.fid_arch import get_folder_features

    path = weights.inception(mirror)
    metric = metrics.load("fid")
    assert names(metric) == [path.name]
    folders = {"sr": pictures[:5], "hq": pictures[3:]}
    for kind, chosen in folders.items():
        (tmp_path / kind).mkdir()
        for index, picture in enumerate(chosen):
            Image.fromarray(picture).save(tmp_path / kind / f"{index}.png")
    own, theirs = {}, {}
    for kind in folders:
        files = sorted((tmp_path / kind).iterdir())
        rows = [manifest.Row(name=one.stem, hq=str(one)) for one in files]
        items = scoring.pair(rows, tmp_path / kind)
        own[kind] = list(scoring.score([metric], items, crop_border=4))
        described = list(scoring.describe([metric], items))
        for one, other in zip(own[kind], described, strict=True):
            assert np.array_equal(one.features["fid"], other.features["fid"])
        with warnings.catch_warnings(action="ignore"):
            theirs[kind] = get_folder_features(
                str(tmp_path / kind), metric.model.net.model, 0, 2, device="cpu", verbose=False
            )
        got = np.stack([one.features["fid"] for one in own[kind]])
        np.testing.assert_allclose(got, theirs[kind], atol=1e-5)
    a, b = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in map(np.float64, theirs.values()))
    # Tr (C1 C2)^1/2 has the same eigenvalues as that of the small matrix.
    root = scipy.linalg.sqrtm(a @ b.T @ b @ a.T).trace().real
    gap = theirs["sr"].mean(0) - theirs["hq"].mean(0)
    expected = gap @ gap + (a**2).sum() + (b**2).sum() - 2 * root
    found = scoring.whole_set(metric, own["sr"], own["hq"])
    assert found == pytest.approx(expected, rel=1e-4)
    assert found > 0
    assert scoring.whole_set(metric, own["sr"], own["sr"]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("count", [5, 40, 300])
def test_the_distance_is_pyiqas(count):
    from pyiqa.archs.fid_arch import frechet_distance

    rng = np.random.default_rng(count)
    a, b = (rng.normal(m, m, (count + m, 32)).astype(np.float32) for m in (1, 2))
    with warnings.catch_warnings(action="ignore"):
        expected = frechet_distance(
            a.mean(0), np.cov(a, rowvar=False), b.mean(0), np.cov(b, rowvar=False)
        )
    assert fid.distance(a, b) == pytest.approx(expected, abs=1e-4)


def test_gaussians_have_the_distance_of_the_definition():
    """One dimension: (m1 - m2)^2 + (s1 - s2)^2."""
    a, b = np.array([[0.0], [2.0]], np.float32), np.array([[5.0], [11.0]], np.float32)
    expected = (1 - 8) ** 2 + (np.sqrt(2) - np.sqrt(18)) ** 2
    assert fid.distance(a, b) == pytest.approx(expected)
    with pytest.raises(ValueError, match="sets of 2 images or more, got 1"):
        fid.distance(a[:1], b)


def test_a_set_without_a_reference_has_no_fid():
    traits = metrics.traits("fid")
    metric = metrics.Metric(traits=traits, model=nn.Identity())
    one = scoring.Scored(name="a", values={}, features={"fid": np.zeros(4, np.float32)})
    with pytest.raises(scoring.ScoringError, match=r"fid: compares 2 or more .* got 2 and 0"):
        scoring.whole_set(metric, [one, one], [])
    assert traits.whole_set
    assert not metrics.traits("niqe").whole_set
    _, missing = metrics.load_all(["fid", "psnr"])
    assert "only `score` does" in missing["fid"]
    with pytest.raises(metrics.MetricError, match="of those only fid is scored"):
        metrics.load("sfid")


def test_records_of_sets_have_no_image():
    scored = [scoring.Scored(name="a", values={"psnr": 20.0})]
    rows = scoring.records("x", scored, {"fid": 1.5})
    assert [tuple(row.values())[1:] for row in rows[1:]] == [("", "psnr", 20.0), ("", "fid", 1.5)]
    assert json.dumps(rows)

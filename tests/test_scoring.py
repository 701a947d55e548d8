"""Scores, against published numbers on real images and on PNGs made here."""

import csv
import json
import os
import socket
import subprocess
import sys
from subprocess import run
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from omgsr import images, manifest, metrics, scoring

FREE = ("psnr", "ssim", "gmsd", "niqe", "piqe")


@pytest.fixture(scope="module")
def loaded():
    return {name: metrics.load(name) for name in FREE}


def texture(side, seed, noise=0):
    """Smooth noise: an image with structure at every scale, so that all metrics are defined."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (side // 6, side // 6, 3), dtype=np.uint8)
    image = np.array(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    return np.clip(image + rng.normal(0, noise, image.shape), 0, 255).astype(np.uint8)


def make_set(folder, sides, paired=True):
    """Restored images and rows of a benchmark, HQ beside them."""
    rows = []
    for index, side in enumerate(sides):
        name = f"im{index}"
        images.write_png(folder / "sr" / f"{name}.png", texture(side, index, noise=8))
        images.write_png(folder / "hq" / f"{name}.png", texture(side, index))
        rows.append(manifest.Row(name=name, hq=str(folder / "hq" / f"{name}.png") * paired))
    return rows, folder / "sr"


def score_set(loaded, rows, folder, names=FREE, **options):
    scored = scoring.score([loaded[n] for n in names], scoring.pair(rows, folder), **options)
    return {s.name: s for s in scored}


# --- golden numbers on real images ---


@pytest.mark.real
def test_bicubic_on_realsr_has_the_known_psnr(real_data, loaded, tmp_path):
    names = sorted(path.stem for path in (real_data / "realsr/test_LR").glob("*.png"))
    for name in names:
        lq = images.read_rgb(real_data / f"realsr/test_LR/{name}.png")
        images.write_png(tmp_path / f"{name}.png", images.upscale(lq, 4))
    rows = [manifest.Row(name=n, hq=str(real_data / f"realsr/test_HR/{n}.png")) for n in names]
    scored = scoring.score([loaded["psnr"]], scoring.pair(rows, tmp_path))
    mean = scoring.records("realsr", scored)[-1]
    assert len(names) == 100
    assert mean["image"] == ""
    assert mean["value"] == pytest.approx(27.1128, abs=1e-4)


@pytest.mark.real
def test_osediff_has_its_published_scores(real_data, loaded, tmp_path):
    source = real_data / "osediff_realsr"
    with open(source / "scores.csv", newline="") as handle:
        table = list(csv.DictReader(handle))
    first = {key.lower(): key for key in table[0]}
    published = {row[next(iter(row))].removesuffix(".png"): row for row in table}
    names = sorted(path.stem for path in source.glob("*.png"))
    for name in names:
        (tmp_path / f"{name}.png").symlink_to(source / f"{name}.png")
    rows = [manifest.Row(name=n, hq=str(real_data / f"realsr/test_HR/{n}.png")) for n in names]
    got = score_set(loaded, rows, tmp_path, ("psnr", "ssim", "niqe"))
    assert len(got) == 20
    for metric, tolerance in (("psnr", 1e-4), ("ssim", 1e-4), ("niqe", 0.03)):
        for name in names:
            expected = float(published[name][first[metric]])
            assert got[name].values[metric] == pytest.approx(expected, abs=tolerance), name


# --- the same numbers however they are computed ---


def test_psnr_is_that_of_the_definition(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [48])
    weights = np.array([65.481, 128.553, 24.966]) / 255
    sr, hq = (images.read_rgb(tmp_path / kind / "im0.png") @ weights for kind in ("sr", "hq"))
    expected = 10 * np.log10(255**2 / np.mean((sr - hq) ** 2))
    assert score_set(loaded, rows, folder, ["psnr"])["im0"].values["psnr"] == pytest.approx(
        expected, abs=1e-3
    )


def test_scores_do_not_depend_on_the_batch(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [96, 96, 96, 120, 96])
    together = score_set(loaded, rows, folder)
    for row in rows:
        (alone,) = scoring.score(
            list(loaded.values()), [scoring.Item(sr=folder / f"{row.name}.png", row=row)]
        )
        assert alone.values == pytest.approx(together[row.name].values, abs=1e-6)
    assert list(together) == [row.name for row in rows]


def test_the_border_is_left_out(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [64])
    sr = images.read_rgb(folder / "im0.png")
    clean = images.read_rgb(tmp_path / "hq/im0.png").copy()
    clean[:4], clean[-4:], clean[:, :4], clean[:, -4:] = sr[:4], 0, 0, 0
    clean[4:-4, 4:-4] = images.read_rgb(tmp_path / "hq/im0.png")[4:-4, 4:-4]
    images.write_png(folder / "im0.png", clean)
    assert score_set(loaded, rows, folder, ["psnr"])["im0"].values["psnr"] < 40
    inner = score_set(loaded, rows, folder, ["psnr"], crop_border=4)
    assert inner["im0"].values["psnr"] == pytest.approx(80)  # PyIQA's value of equal images
    with pytest.raises(scoring.ScoringError, match=r"lower score\.crop_border"):
        score_set(loaded, rows, folder, ["psnr"], crop_border=32)


def test_the_hq_is_cropped_as_the_row_says(loaded, tmp_path):
    hq = texture(96, 0)
    images.write_png(tmp_path / "hq.png", hq)
    images.write_png(tmp_path / "sr/a.png", hq[10:58, 20:84])
    row = manifest.Row(name="a", hq=str(tmp_path / "hq.png"), top=10, left=20, height=48, width=64)
    got = score_set(loaded, [row], tmp_path / "sr", ["psnr"])
    assert got["a"].values["psnr"] == pytest.approx(80)


# --- what is scored and what is not ---


def test_without_hq_only_no_reference_metrics_are_computed(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [96], paired=False)
    assert set(score_set(loaded, rows, folder)["im0"].values) == {"niqe", "piqe"}


def test_an_image_too_small_for_a_metric_is_a_note(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [95, 96])
    got = score_set(loaded, rows, folder)
    assert "niqe" not in got["im0"].values
    assert got["im0"].notes == ("niqe: im0 is 95 x 95, which is under the 96 pixels that it needs",)
    assert got["im1"].notes == ()
    mean = [
        r for r in scoring.records("b", got.values()) if (r["image"], r["metric"]) == ("", "niqe")
    ]
    assert mean[0]["value"] == pytest.approx(got["im1"].values["niqe"], abs=1e-6)


@pytest.mark.parametrize("name", sorted(metrics.MIN_SIDE.keys() - {"niqe_matlab"}))
def test_the_smallest_side_is_enough_and_one_less_is_not(name, tmp_path):
    metric, least = metrics.load(name), metrics.MIN_SIDE[name]
    sr, hq = (torch.rand(2, 1, 3, least, least, generator=torch.manual_seed(0))).unbind(0)
    assert torch.isfinite(metric(sr, hq)).all()
    with pytest.raises((AssertionError, RuntimeError)):
        metric(sr[..., 1:, 1:], hq[..., 1:, 1:])


def test_a_score_that_is_not_finite_is_a_note(tmp_path):
    flat = np.full((96, 96, 3), 128, np.uint8)
    images.write_png(tmp_path / "a.png", flat)
    endless = metrics.Metric(
        traits=metrics.traits("niqe"), model=lambda x: torch.full((len(x),), float("nan"))
    )
    rows = [manifest.Row(name="a")]
    (got,) = scoring.score([endless], scoring.pair(rows, tmp_path))
    assert (got.values, got.notes) == ({}, ("niqe: PyIQA gave no finite score for a",))


def test_records_are_long_with_the_means_last():
    scored = [
        scoring.Scored(name="a", values={"psnr": 20.0, "niqe": 5.0}),
        scoring.Scored(name="b", values={"psnr": 30.0}),
    ]
    rows = scoring.records("x", scored)
    assert [tuple(row) for row in rows] == [scoring.COLUMNS] * 5
    assert [tuple(row.values())[1:] for row in rows[-2:]] == [("", "psnr", 25.0), ("", "niqe", 5.0)]


# --- pairs that do not fit ---


def test_pairs_are_made_by_name_and_mismatches_are_named(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [48, 48])
    with pytest.raises(scoring.ScoringError, match=r"lacks gone\.png; run `dvc repro`"):
        scoring.pair([*rows, manifest.Row(name="gone")], folder)
    with pytest.raises(scoring.ScoringError, match=r"does not list: im1\.png"):
        scoring.pair(rows[:1], folder)
    with pytest.raises(scoring.ScoringError, match=r"nowhere: lacks im0\.png, im1\.png"):
        scoring.pair(rows, tmp_path / "nowhere")
    with pytest.raises(scoring.ScoringError, match="im1: no HQ, but other images"):
        scoring.pair([rows[0], manifest.Row(name="im1")], folder)


def test_sizes_that_differ_are_refused(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [48])
    images.write_png(folder / "im0.png", texture(52, 0))
    with pytest.raises(scoring.ScoringError, match=r"im0.png: is 52 x 52, its HQ .* is 48 x 48"):
        score_set(loaded, rows, folder)


def test_a_damaged_image_is_named(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [48])
    (folder / "im0.png").write_bytes((folder / "im0.png").read_bytes()[:200])
    with pytest.raises(images.ImageError, match=r"im0\.png"):
        score_set(loaded, rows, folder)


# --- metrics ---


def test_mode_and_direction_are_pyiqas(loaded):
    for name, metric in loaded.items():
        assert metric.traits.lower_better == metric.model.lower_better, name
        assert metric.traits.full_reference == (metric.model.metric_mode == "FR"), name
    paper = ("lpips", "fid", "clipiqa", "clipiqa+", "nima", "niqe", "liqe", "musiq", "maniqa-pipal")
    assert {n for n in paper if metrics.traits(n).lower_better} == {"lpips", "fid", "niqe"}
    assert metrics.known_metrics() > set(paper)


def test_an_unknown_metric_is_refused_with_its_nearest():
    with pytest.raises(metrics.MetricError, match="unknown metric 'muziq'; PyIQA knows musiq"):
        metrics.load_all(["muziq"])


def test_names_are_checked_without_importing_pyiqa():
    code = "import sys, omgsr.metrics as m; m.traits('lpips'); print('pyiqa' in sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("lpips", "alexnet-owt-7be5be79.pth"),  # torch.hub
        ("musiq", "musiq_koniq_ckpt-e95806b9.pth"),  # PyIQA's own
        ("clipiqa", "RN50.pt"),  # OpenAI's CLIP
        ("nima", "timm/inception_resnet_v2.tf_in1k"),  # the Hugging Face hub
    ],
)
def test_missing_weights_are_named_at_once(name, file, tmp_path):
    """An empty cache, and a network that must not be asked: a look-up would hang or download.

    In a process of its own: PyIQA reads where its caches are when it is imported.
    """
    code = (
        "import json, sys, time; from omgsr import metrics; start = time.monotonic()\n"
        "loaded, missing = metrics.load_all([sys.argv[1], 'psnr'])\n"
        "print(json.dumps([[m.name for m in loaded], missing, time.monotonic() - start]))"
    )
    homes = dict.fromkeys(("HOME", "TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME"), str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env=os.environ | homes, capture_output=True, text=True, check=True,
    )  # fmt: skip
    loaded, missing, seconds = json.loads(done.stdout.splitlines()[-1])
    assert loaded == ["psnr"]
    assert list(missing) == [name]
    assert file in missing[name]
    assert f"pyiqa.create_metric('{name}')" in missing[name]
    assert seconds < 60


def test_the_network_is_back_afterwards(loaded):
    before = SimpleNamespace(connect=socket.socket.connect, resolve=socket.getaddrinfo)
    metrics.load("psnr")
    assert socket.socket.connect is before.connect
    assert socket.getaddrinfo is before.resolve


def test_set_metrics_say_so():
    with pytest.raises(metrics.MetricError, match="fid: compares whole sets"):
        metrics.load("fid")


def test_the_contract_tells_how_numbers_were_made(loaded):
    told = metrics.contract([loaded["psnr"], loaded["niqe"]], "cpu", 4)
    assert told["crop_border"] == 4
    assert told["metrics"]["psnr"]["options"] == {"test_y_channel": True, "color_space": "ycbcr"}
    assert told["metrics"]["niqe"]["options"] == {"parameters": "basicsr niqe_pris_params.npz"}
    assert told["pyiqa"]

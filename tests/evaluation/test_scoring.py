"""Scores, against published numbers on real images and on PNGs made here."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from subprocess import run
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.data import manifest
from omgsr.evaluation import contract, fast_filters, finished, metrics, scoring
from omgsr.evaluation import thread_copies as threads
from omgsr.evaluation.metric_table import metric_table

FREE = ("psnr", "ssim", "gmsd", "stlpips", "niqe", "piqe")


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


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "column"),
    [("lpips", "lpips"), ("dists", "dists"), ("clipiqa", "clipiqa"), ("musiq", "musiq"),
     ("maniqa-pipal", "maniqa")],
)  # fmt: skip
def test_osediff_has_the_published_scores_of_metrics_with_weights(name, column, real_data):
    try:
        metric = metrics.load(name)
    except metrics.MetricError as error:
        pytest.skip(str(error))
    source = real_data / "osediff_realsr"
    with open(source / "scores.csv", newline="") as handle:
        published = {row["image"]: float(row[column]) for row in csv.DictReader(handle)}
    items = [
        scoring.Item(
            sr=path,
            row=manifest.Row(name=path.stem, hq=str(real_data / f"realsr/test_HR/{path.name}")),
        )
        for path in sorted(source.glob("*.png"))
    ]
    got = {one.name: one.values[name] for one in scoring.score([metric], items)}
    expected = {name: published[f"{name}.png"] for name in got}
    assert got == pytest.approx(expected, abs=1e-3)


# --- the same numbers however they are computed ---


def test_psnr_is_that_of_the_definition(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [48])
    weights = np.array([65.481, 128.553, 24.966]) / 255
    sr, hq = (images.read_rgb(tmp_path / kind / "im0.png") @ weights for kind in ("sr", "hq"))
    expected = 10 * np.log10(255**2 / np.mean((sr - hq) ** 2))
    assert score_set(loaded, rows, folder, ["psnr"])["im0"].values["psnr"] == pytest.approx(
        expected, abs=1e-3
    )


def test_scores_do_not_depend_on_what_is_beside_an_image(loaded, tmp_path):
    """To the last digit: whatever the threads, the order and the company."""
    rows, folder = make_set(tmp_path, [96, 96, 130, 120, 96])
    together = score_set(loaded, rows, folder)
    assert list(together) == [row.name for row in rows]
    before = torch.get_num_threads()
    try:
        for threads, workers in ((1, 1), (2, 1), (2, 3)):
            torch.set_num_threads(threads)
            again = score_set(loaded, rows[::-1], folder, workers=workers)
            assert again == together
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    for row in rows:
        item = scoring.Item(sr=folder / f"{row.name}.png", row=row)
        assert list(scoring.score(list(loaded.values()), [item])) == [together[row.name]]


def test_a_metric_that_draws_gives_the_same_and_disturbs_nobody(tmp_path):
    """Random crops are the same ones for every image, and other generators go on as they were."""

    class Drawing(torch.nn.Module):
        def forward(self, x):
            return torch.rand(1) + float(np.random.rand())  # noqa: NPY002

    traits = metrics.Traits(name="x", lower_better=False, full_reference=False, draws=True)
    metric = metrics.Metric(traits=traits, model=Drawing())
    x = torch.rand(1, 3, 8, 8)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    first = metric(x)
    drawn = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    assert (torch.rand(1), np.random.rand()) == drawn  # noqa: NPY002
    assert metric(x) == first


def test_a_network_that_keeps_its_activations_is_every_threads_own():
    """As MANIQA does with hooks: two images at once would be taken for one another."""

    class Keeping(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.hidden = torch.nn.Identity(), [torch.nn.Linear(1, 1)]
            self.seen = []
            self.inner.register_forward_hook(self.keep)

        def keep(self, module, given, out):
            self.seen.append(out)

        def forward(self, x):
            self.inner(x)
            time.sleep(0.02)
            (seen,) = self.seen
            self.seen.clear()
            return seen.mean(dim=(1, 2, 3))

    traits = metrics.Traits(name="x", lower_better=False, full_reference=False)
    metric = metrics.Metric(traits=traits, model=Keeping())
    given = [torch.full((1, 3, 4, 4), value / 10) for value in range(8)]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(metric, given))
    assert [round(float(one), 3) for one in got] == [value / 10 for value in range(8)]
    twin = threads.twin(metric.model)
    assert twin.hidden[0] is not metric.model.hidden[0]
    assert twin.hidden[0].weight is metric.model.hidden[0].weight  # not in memory twice


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [4, 7, 11])
def test_the_fast_filter_is_torchs_convolution(channels, side):
    x = torch.rand(2, channels, 40, 33, dtype=torch.float64) * 65025
    weight = torch.rand(channels, 1, side, side, dtype=torch.float64)
    with torch.no_grad():
        slow = torch.nn.functional.conv2d(x, weight, groups=channels)
        with fast_filters.FastFilters():
            fast = torch.nn.functional.conv2d(x, weight, groups=channels)
            strided = torch.nn.functional.conv2d(x, weight, stride=2, groups=channels)
    assert fast.shape == slow.shape
    torch.testing.assert_close(fast, slow, rtol=1e-13, atol=0)
    torch.testing.assert_close(strided, slow[..., ::2, ::2], rtol=1e-13, atol=0)


@pytest.mark.parametrize("name", FREE)
def test_scores_are_pyiqas_own(name, loaded):
    """Called as PyIQA's users do, without anything of ours but NIQE's file."""
    for side in (96, 201):
        sr, hq = (
            torch.from_numpy(texture(side, seed, noise)).permute(2, 0, 1)[None] / 255
            for seed, noise in ((1, 9), (1, 0))
        )
        own = loaded[name].model(sr, hq)
        assert float(loaded[name](sr, hq)) == pytest.approx(float(own), rel=1e-9, abs=1e-9)


# --- a killed run ---


def test_what_is_finished_is_kept_and_used(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [96, 95])
    items, keep = scoring.pair(rows, folder), finished.Kept(tmp_path / "kept")
    chosen = [loaded["psnr"], loaded["niqe"]]
    first = list(scoring.score(chosen, items, keep=keep))
    for path in folder.iterdir():
        path.write_bytes(b"")  # a second reading would fail
    assert list(scoring.score(chosen, items, keep=keep)) == first


def test_the_fingerprint_knows_every_input(loaded, tmp_path):
    rows, folder = make_set(tmp_path, [48, 48])
    items, told = scoring.pair(rows, folder), {"crop": 4}

    def of(told, name, items):
        return finished.fingerprint(told, {name: items})

    first = of(told, "a", items)
    assert of(told, "a", items) == first
    found = {first, of({"crop": 0}, "a", items), of(told, "b", items), of(told, "a", items[:1])}
    for path in (folder / "im0.png", tmp_path / "hq/im1.png"):
        images.write_png(path, texture(48, 99))
        found.add(of(told, "a", items))
    assert len(found) == 6


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


# The others' weights are not on every machine.
@pytest.mark.parametrize("name", ["niqe", "ms_ssim", "vif", "stlpips", "stlpips-vgg"])
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
    with pytest.raises(ImageError, match=r"im0\.png"):
        score_set(loaded, rows, folder)


# --- metrics ---


def test_mode_and_direction_are_pyiqas(loaded):
    for name, metric in loaded.items():
        assert metric.traits.lower_better == metric.model.lower_better, name
        assert metric.traits.full_reference == (metric.model.metric_mode == "FR"), name
    paper = ("lpips", "fid", "clipiqa", "clipiqa+", "nima", "niqe", "liqe", "musiq", "maniqa-pipal")
    assert {n for n in paper if metrics.traits(n).lower_better} == {"lpips", "fid", "niqe"}
    assert set(metric_table()) > set(paper)


def test_an_unknown_metric_is_refused_with_its_nearest():
    with pytest.raises(metrics.MetricError, match="unknown metric 'muziq'; PyIQA knows musiq"):
        metrics.load_all(["muziq"])


def test_names_are_checked_without_importing_pyiqa():
    code = "import sys, omgsr.evaluation.metrics as m; m.traits('lpips');"
    code += "print('pyiqa' in sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("lpips", "alexnet-owt-7be5be79.pth"),  # torch.hub
        ("musiq", "musiq_koniq_ckpt-e95806b9.pth"),  # PyIQA's own
        ("clipiqa", "RN50.pt"),  # OpenAI's CLIP
        ("nima", "NIMA_InceptionV2_ava-b0c77c00.pth"),  # timm's own is not needed
    ],
)
def test_missing_weights_are_named_at_once(name, file, tmp_path):
    """An empty cache, and a network that must not be asked: a look-up would hang or download.

    In a process of its own: PyIQA reads where its caches are when it is imported.
    """
    code = (
        "import json, sys, time; from omgsr.evaluation import metrics; start = time.monotonic()\n"
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


def test_the_contract_tells_how_numbers_were_made(loaded):
    told = contract.contract([loaded[n] for n in ("psnr", "ssim", "niqe", "gmsd")], "cpu", 4)
    assert (told["crop_border"], told["device"], told["pyiqa"]) == (4, "cpu", version("pyiqa"))
    psnr, niqe = told["metrics"]["psnr"], told["metrics"]["niqe"]
    assert psnr["options"] == {"test_y_channel": True, "color_space": "ycbcr"}
    assert psnr["colour"] == {"space": "ycbcr", "test_y_channel": True}
    assert (psnr["better"], psnr["crop"], psnr["seed"], psnr["weights"]) == ("higher", 4, None, [])
    assert (niqe["better"], niqe["colour"]["space"]) == ("lower", "yiq")
    (file,) = niqe["weights"]
    assert (file["file"], file["bytes"]) == ("niqe_pris_params.npz", 11850)
    assert len(file["sha256"]) == 64
    json.dumps(told, allow_nan=False)

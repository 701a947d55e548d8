"""Stage `score` in a workspace of its own: killed and continued, and with a metric of sets."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from omgsr.core import images
from omgsr.data import manifest
from omgsr.evaluation import metrics, statistics
from omgsr.evaluation.composite import composite
from omgsr.reporting import compared, tables
from omgsr.reporting.compared import Compared
from stages import score
from tests.helpers import weights

RUN = "bicubic"
BENCHMARKS = """benchmarks:
  pairs: {hq: {photographs: [chelsea]}, crop: 96, degradation: realesrgan, paired: true}
  alone: {hq: {dead_leaves: 1}, crop: null, degradation: light, paired: false}
  named: {hq: {dead_leaves: 1}, crop: null, degradation: light, paired: false}

"""


def texture(side, seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (side // 6, side // 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def workspace(folder, checkout, scoring, count, side):
    """Restored images of three benchmarks, the first of them with HQ."""
    shutil.copytree(checkout / "configs", folder / "configs")
    text = (folder / "configs/mini.yaml").read_text()
    start, end = text.index("benchmarks:"), text.index("foundation:")
    text = text[:start] + BENCHMARKS + text[end:]
    text = text[: text.index("score:")] + scoring + text[text.index("ablations:") :]
    (folder / "configs/mini.yaml").write_text(text)
    shutil.copy(checkout / "params.yaml", folder)
    for name in ("pairs", "alone", "named"):
        rows = []
        for index in range(count if name == "pairs" else 2):
            clean = texture(side, index)
            grain = np.random.default_rng(index).integers(-9, 9, clean.shape)
            sr = np.clip(clean + grain, 0, 255).astype(np.uint8)
            images.write_png(folder / f"runs/{RUN}/sr/{name}/im{index}.png", sr)
            images.write_png(folder / f"hq/im{index}.png", clean)
            hq = f"hq/im{index}.png" if name == "pairs" else ""
            rows.append(manifest.Row(name=f"im{index}", hq=hq))
        manifest.write(folder / f"data/pairs/{name}.csv", rows)
    return folder


def here(folder):
    """Runs the stage in this process => what it showed."""
    shown = io.StringIO()
    with chdir(folder), redirect_stderr(shown):
        score.main(RUN)
    return shown.getvalue()


def results(folder):
    return [(folder / f"runs/{RUN}/scores.{kind}").read_bytes() for kind in ("csv", "json")]


def start(folder, checkout):
    return subprocess.Popen(
        [sys.executable, "-m", "stages.score", RUN],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stderr=subprocess.DEVNULL,
    )


def test_a_killed_run_continues_and_writes_the_same_bytes(tmp_path, checkout):
    scoring = "score:\n  metrics: [psnr, ssim, niqe]\n  crop_border: 0\n"
    folder = workspace(tmp_path, checkout, scoring, count=60, side=192)
    here(folder)
    expected = results(folder)
    assert not list((folder / "work").iterdir())
    for path in (folder / f"runs/{RUN}").glob("scores.*"):
        path.unlink()
    killed = start(folder, checkout)
    while killed.poll() is None and len(list(folder.glob("work/score-*/pairs/im*.json"))) < 3:
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    finished = list(folder.glob("work/score-*/pairs/im*.json"))
    assert 3 <= len(finished) < 60
    assert not (folder / f"runs/{RUN}/scores.csv").exists()
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    again = start(folder, checkout)
    while again.poll() is None:  # none of the finished ones is written a second time
        assert all(stamp(path) in (None, written) for path, written in stamps.items())
        time.sleep(0.02)
    assert again.returncode == 0
    assert results(folder) == expected
    assert not list((folder / "work").iterdir())


def stamp(path):
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


@pytest.fixture(scope="module")
def scored(tmp_path_factory, checkout):
    """A workspace scored with a FID of random weights; what was shown."""
    folder = tmp_path_factory.mktemp("fid")
    text = (
        "score:\n  metrics: [psnr, fid, musiq]\n  crop_border: 4\n"
        f"  reference: {{named: {folder / 'hq'}}}\n"
    )
    workspace(folder, checkout, text, count=3, side=96)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMGSR_WEIGHTS", str(folder / "weights"))
        patch.setenv("TORCH_HOME", str(folder / "home"))
        (folder / "weights").mkdir()
        weights.inception(folder / "weights")
        shown = here(folder)
    return folder, shown


def test_fid_is_a_row_of_the_set(scored):
    folder, shown = scored
    frame = pd.read_csv(folder / f"runs/{RUN}/scores.csv", keep_default_na=False)
    fid = frame[frame["metric"] == "fid"]
    assert fid[["benchmark", "image"]].to_numpy().tolist() == [["pairs", ""], ["named", ""]]
    assert (fid["value"] > 0).all()
    assert "alone: fid: compares 2 or more images with as many of a reference, got 2 and 0" in shown
    told = json.loads((folder / f"runs/{RUN}/scores.json").read_text())
    (file,) = told["metrics"]["fid"]["weights"]
    assert file["file"] == "pt_inception-2015-12-05-6726825d.pth"
    assert told["metrics"]["fid"]["crop"] == 0
    assert told["metrics"]["psnr"]["crop"] == 4
    assert "musiq_koniq_ckpt-e95806b9.pth" in told["unavailable"]["musiq"]
    assert any(note.startswith("alone: fid") for note in told["notes"])


def test_the_report_copes_with_a_metric_that_has_no_image_rows(scored):
    folder, _ = scored
    shutil.copytree(folder / f"runs/{RUN}", folder / "runs/other", dirs_exist_ok=True)
    frame = compared.read_scores(folder / "runs", [RUN, "other"])
    traits = [metrics.traits(name) for name in ("psnr", "fid")]
    lower = {one.name: one.lower_better for one in traits}
    assert set(statistics.intervals(frame)["metric"]) == {"psnr"}
    gaps = statistics.differences(frame, RUN, lower).set_index("metric")
    assert gaps.loc[["fid"], ["low", "high", "won"]].isna().all(axis=None)
    assert gaps.loc[["psnr"], ["low", "high", "won"]].notna().all(axis=None)
    paired = {"pairs": True, "alone": False, "named": False}
    told = Compared(methods=(RUN, "other"), benchmarks=paired, traits=tuple(traits))
    table = tables.score_table(frame, composite(frame, lower), told)
    lines = {(one.benchmark, one.traits.name): one.texts for one in table.lines}
    dashes = (tables.DASH, tables.DASH)
    assert lines.get(("alone", "fid"), dashes) == dashes
    for name in ("pairs", "named"):
        assert lines[name, "fid"] == lines[name, "fid"][:1] * 2 != dashes


def test_the_reference_of_an_unknown_benchmark_is_refused(tmp_path, checkout):
    text = "score:\n  metrics: [psnr]\n  crop_border: 0\n  reference: {pears: hq}\n"
    folder = workspace(tmp_path, checkout, text, count=2, side=48)
    with pytest.raises(ValueError, match=r"score\.reference: unknown benchmark 'pears'"):
        here(folder)

"""Stages `score` and `report` in a small workspace of real files, as DVC runs them."""

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from omgsr.core import images
from omgsr.data import manifest
from omgsr.reporting import compared

RUNS = ("bicubic", "full-999-0", "full-1-0")
PAIRED, LQ_ONLY = "mini_standard", "mini_lq_leaves"
BENCHMARKS = """benchmarks:
  mini_standard: {hq: {photographs: [chelsea]}, crop: 96, degradation: realesrgan, paired: true}
  mini_lq_leaves: {hq: {dead_leaves: 1}, crop: null, degradation: light, paired: false}

"""


def stage(workspace, name, *arguments):
    """Runs the main function of a stage in the workspace => what it showed.

    In this process: importing torch and PyIQA anew for every stage would take most of the time.
    """
    shown = io.StringIO()
    with chdir(workspace), redirect_stdout(shown), redirect_stderr(shown):
        import_module(f"stages.{name}").main(*arguments)
    return shown.getvalue()


def process(workspace, *arguments):
    """Runs a stage as stages/run.sh does."""
    return subprocess.run(
        [sys.executable, "-m", f"stages.{arguments[0]}", *arguments[1:]],
        cwd=workspace,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def settings(folder, checkout):
    shutil.copytree(checkout / "configs", folder / "configs")
    text = (folder / "configs/mini.yaml").read_text()
    start, end = text.index("benchmarks:"), text.index("foundation:")
    (folder / "configs/mini.yaml").write_text(text[:start] + BENCHMARKS + text[end:])
    params = (checkout / "params.yaml").read_text()
    assert "timesteps: [auto]" in params
    (folder / "params.yaml").write_text(params.replace("timesteps: [auto]", "timesteps: [999, 1]"))
    for name in ("omgsr", "stages"):
        (folder / name).symlink_to(checkout / name)


def noise(side, seed):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def pictures(folder):
    """LQ images, HQ for one benchmark, and restored images of every run: bicubic plus noise."""
    for benchmark, count in ((PAIRED, 2), (LQ_ONLY, 1)):
        rows = []
        for index in range(count):
            name, lq = f"im{index}", noise(24, index)
            hq = f"data/source/{name}.png" if benchmark == PAIRED else ""
            row = manifest.Row(name=name, hq=hq, lq=f"data/pairs/{benchmark}/lq/{name}.png")
            rows.append(row)
            images.write_png(folder / row.lq, lq)
            big = images.upscale(lq, 4)
            images.write_png(folder / "data/source" / f"{name}.png", big)
            for strength, run in enumerate(RUNS, start=1):
                grain = noise(96, 9).astype(int) * strength // 8
                restored = np.clip(big + grain, 0, 255).astype(np.uint8)
                images.write_png(folder / f"runs/{run}/sr/{benchmark}/{name}.png", restored)
        manifest.write(folder / f"data/pairs/{benchmark}.csv", rows)


def trained(folder):
    for run in RUNS[1:]:
        history = pd.DataFrame({"step": [1, 2, 3], "lrr": [3.0, 2.0, 1.0], "gan": [1.0, 1.1, 1.2]})
        (folder / f"runs/{run}/train").mkdir(parents=True)
        history.to_csv(folder / f"runs/{run}/train/history.csv", index=False)
        t = {"t": int(run.split("-")[1]), "source": "given"}
        (folder / f"runs/{run}/t.json").write_text(json.dumps(t))
        (folder / f"runs/{run}/model").mkdir()
        (folder / f"runs/{run}/model/omgsr.json").write_text(json.dumps({"t": t["t"]}))


def timestep(folder):
    """What the stage of this name writes."""
    (folder / "reports").mkdir()
    t = np.arange(1, 1001)
    pd.DataFrame({"t": t, "gap": np.abs(np.log(t / 273)) + 0.1}).to_csv(
        folder / "reports/timestep.csv", index=False
    )
    found = {"t": 273, "low": 260, "high": 290, "images": 3}
    (folder / "reports/timestep.json").write_text(json.dumps(found))
    pd.DataFrame({"image": ["NA", "b", "c"], "t": [200, 273, 300]}).to_csv(
        folder / "data/moments.csv", index=False
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, checkout):
    """A workspace where every stage up to `report` has run."""
    folder = tmp_path_factory.mktemp("workspace")
    settings(folder, checkout)
    pictures(folder)
    trained(folder)
    timestep(folder)
    for run in RUNS:
        stage(folder, "score", run)
    (folder / "screen.txt").write_text(stage(folder, "report"))
    stage(folder, "page")
    return folder


def test_scores_of_a_run(workspace):
    scores = compared.read_scores(workspace / "runs", ["full-999-0"])
    keys = set(scores[["benchmark", "image", "metric"]].itertuples(index=False, name=None))
    paired = {(PAIRED, i, m) for i in ("im0", "im1", "") for m in ("psnr", "ssim", "niqe")}
    assert keys >= paired | {(LQ_ONLY, "im0", "niqe"), (LQ_ONLY, "", "niqe")}
    assert (LQ_ONLY, "", "psnr") not in keys
    psnr = scores[(scores["benchmark"] == PAIRED) & (scores["metric"] == "psnr")]
    values = psnr.set_index("image")["value"]
    assert values[""] == pytest.approx((values["im0"] + values["im1"]) / 2, abs=2e-6)
    told = json.loads((workspace / "runs/full-999-0/scores.json").read_text())
    assert told["unavailable"] == {}
    assert "psnr" in told["metrics"]


def test_scoring_again_gives_the_same_bytes(workspace):
    path = workspace / "runs/full-1-0/scores.csv"
    before = path.read_bytes()
    path.unlink()
    stage(workspace, "score", "full-1-0")
    assert path.read_bytes() == before


def test_intervals_and_differences_are_those_of_the_images(workspace):
    scores = pd.read_csv(workspace / "reports/scores.csv", keep_default_na=False)
    single = scores[(scores["image"] != "") & (scores["metric"] == "psnr")]
    values = {run: own.set_index("image")["value"] for run, own in single.groupby("run")}
    intervals = pd.read_csv(workspace / "reports/intervals.csv")
    found = intervals.set_index(["run", "benchmark", "metric"]).loc[("full-1-0", PAIRED, "psnr")]
    assert found["images"] == 2
    assert found["low"] == pytest.approx(values["full-1-0"].min(), abs=1e-5)
    assert found["high"] == pytest.approx(values["full-1-0"].max(), abs=1e-5)
    gaps = pd.read_csv(workspace / "reports/differences.csv")
    assert set(gaps["run"]) == {"full-999-0", "full-1-0"}  # against the first method, bicubic
    gap = gaps.set_index(["run", "benchmark", "metric"]).loc[("full-1-0", PAIRED, "psnr")]
    expected = (values["full-1-0"] - values["bicubic"]).mean()
    assert gap["difference"] == pytest.approx(expected, abs=1e-5)
    assert (gap["won"], gap["lost"]) == (0, 2)


def test_the_contract_of_all_runs_is_told_once(workspace):
    contract = json.loads((workspace / "reports/contract.json").read_text())
    assert [one["runs"] for one in contract] == [list(RUNS)]
    assert contract[0]["metrics"]["psnr"]["options"]["test_y_channel"] is True
    assert contract[0]["pyiqa"]


def test_the_page_shows_everything_and_is_the_same_every_time(workspace):
    path = workspace / "reports/index.html"
    html = path.read_text()
    for title in (
        "Mid-timestep",
        "Scores",
        "The paper&#39;s tables",
        "Against bicubic",
        "Composite score",
        "Training",
    ):
        assert f">{title}</h2>" in html
    for text in ("t* = 273", f"{PAIRED}, im0", f"{LQ_ONLY}, im0", "psnr ↑", "test_y_channel"):
        assert text in html
    assert html.count('<figure class="compare">') == 3
    assert html.count('role="img"') == 3
    stage(workspace, "page")
    assert path.read_text() == html


def test_reports_files(workspace):
    scores = pd.read_csv(workspace / "reports/scores.csv", keep_default_na=False)
    assert list(scores.columns) == ["run", "benchmark", "image", "metric", "value"]
    assert set(scores["run"]) == set(RUNS)
    composites = pd.read_csv(workspace / "reports/composite.csv")
    assert list(composites.columns) == ["run", "benchmark", "composite"]
    assert set(composites["run"]) == set(RUNS[1:])  # methods beside OMGSR have none
    assert set(composites["benchmark"]) == {PAIRED, LQ_ONLY, "average"}
    told = json.loads((workspace / "reports/summary.json").read_text())
    assert set(told) == set(RUNS)
    assert "composite" not in told["bicubic"]
    assert 0 <= told["full-1-0"]["composite"] <= 1
    assert told["bicubic"][PAIRED]["psnr"] > told["full-1-0"][PAIRED]["psnr"]
    for name in ("losses", "composite", PAIRED, LQ_ONLY):
        assert (workspace / f"reports/figures/{name}.png").stat().st_size > 1000
    for kind in ("md", "csv", "tex"):
        assert "full-999-0" in (workspace / f"reports/tables/scores.{kind}").read_text()


def test_the_timesteps_of_the_sweep_stand_beside_the_papers(workspace):
    text = (workspace / "reports/tables/table5.md").read_text()
    assert "Table 5 of the paper: timesteps of injection (ours: full)." in text
    assert "these numbers show that the pipeline works" in text
    head = next(line for line in text.splitlines() if line.startswith("| Benchmark"))
    assert [cell.strip() for cell in head.strip("|").split("|")][2:5] == ["999", "973", "873"]
    assert f"| {PAIRED} " in text
    assert "| realsr (paper) " in text
    assert sorted(path.name for path in (workspace / "reports/tables").iterdir()) == sorted(
        f"{name}.{kind}" for name in ("scores", "table5") for kind in ("md", "csv", "tex")
    )
    html = (workspace / "reports/index.html").read_text()
    assert "Table 5 of the paper" in html
    assert "never across" in html


def test_a_metric_of_whole_sets_goes_through_the_report(workspace, tmp_path):
    folder = copy(workspace, tmp_path)
    path = folder / "configs/mini.yaml"
    start = path.read_text().index("\nscore:")
    text = path.read_text()
    path.write_text(text[:start] + text[start:].replace("metrics: [", "metrics: [fid, "))
    for run, value in zip(RUNS, (90.0, 80.0, 120.5), strict=True):
        with (folder / f"runs/{run}/scores.csv").open("a") as file:
            file.write(f"{PAIRED},,fid,{value}\n")
    screen = stage(folder, "report")
    stage(folder, "page")
    line = next(line for line in screen.splitlines() if "fid ↓" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")[2:]]
    assert cells == ["_90.00_", "**80.00**", "120.50"]
    assert screen.count("fid ↓") == 1  # on the paired benchmark alone
    assert "fid" not in set(pd.read_csv(folder / "reports/intervals.csv")["metric"])
    gaps = pd.read_csv(folder / "reports/differences.csv").query("metric == 'fid'")
    assert list(gaps["difference"]) == [-10.0, 30.5]
    assert gaps[["low", "high", "won", "lost"]].isna().all(axis=None)
    html = (folder / "reports/index.html").read_text()
    row = next(row for row in html.split("<tr>") if ">fid<" in row)
    assert row.count("<td") == 8
    assert row.count("–</td>") == 4
    assert "+30.5000" in html


def test_the_table_is_on_the_screen_and_says_what_it_is_worth(workspace):
    screen = (workspace / "screen.txt").read_text()
    assert "| Benchmark" in screen
    assert "<ins>" not in screen
    for text in (screen, (workspace / "reports/tables/scores.md").read_text()):
        assert "these numbers show that the pipeline works" in text


def test_the_report_is_the_same_again(workspace):
    def content():
        files = sorted(path for path in (workspace / "reports").rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files}

    before = content()
    stage(workspace, "report")
    assert content() == before


def copy(workspace, tmp_path):
    return shutil.copytree(workspace, tmp_path / "copy", symlinks=True)


def test_runs_of_earlier_sweeps_are_not_reported(workspace, tmp_path):
    folder = copy(workspace, tmp_path)
    params = (folder / "params.yaml").read_text().replace("[999, 1]", "[999]")
    (folder / "params.yaml").write_text(params)
    screen = stage(folder, "report")
    assert "full-1-0 " not in screen
    assert "it takes at least two" in screen
    composites = (folder / "reports/composite.csv").read_text().splitlines()
    assert composites[1:] == [f"full-999-0,{name}," for name in (PAIRED, LQ_ONLY, "average")]
    told = json.loads((folder / "reports/summary.json").read_text())
    assert told["full-999-0"]["composite"] is None


def test_a_missing_file_is_named_with_what_makes_it(workspace, tmp_path):
    folder = copy(workspace, tmp_path)
    (folder / "runs/full-1-0/scores.csv").unlink()
    (folder / f"runs/full-1-0/sr/{LQ_ONLY}/im0.png").unlink()
    with pytest.raises(OSError, match=r"run `dvc repro`.*runs/full-1-0/scores\.csv"):
        stage(folder, "report")
    with pytest.raises(ValueError, match=r"lacks im0\.png; run `dvc repro`"):
        stage(folder, "score", "full-1-0")
    assert not (folder / "runs/full-1-0/scores.csv").exists()


def test_a_metric_without_its_weights_is_a_dash(workspace, tmp_path, monkeypatch):
    folder = copy(workspace, tmp_path)
    path = folder / "configs/mini.yaml"
    text = path.read_text()
    start = text.index("metrics: [", text.index("\nscore:"))
    end = text.index("]", start)
    path.write_text(text[:start] + "metrics: [musiq, psnr" + text[end:])
    # In processes of their own: PyIQA reads TORCH_HOME when it is imported.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    for run in RUNS:
        done = process(folder, "score", run)
        assert done.returncode == 0, done.stderr
        assert "musiq_koniq_ckpt-e95806b9.pth" in done.stderr
    screen = stage(folder, "report")
    line = next(line for line in screen.splitlines() if "musiq ↑" in line)
    assert [cell.strip() for cell in line.strip("|").split("|")[2:]] == ["–"] * 3
    assert "musiq: unavailable" in screen


def test_an_error_is_one_line_and_an_exit_code(workspace):
    done = process(workspace, "score", "full-7-0")
    assert done.returncode == 1
    assert done.stderr == "score: 'full-7-0' is no run: full-999-0, full-1-0, bicubic\n"

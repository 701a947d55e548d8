"""An ablation read back: spread by hand, words that follow the numbers, and the command's parts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from omgsr import config
from omgsr.reporting import ablation
from omgsr.reporting.compared import Run
from stages.experiments import ablate, dvc_experiments

ROOT = Path(__file__).parents[2]
STAR = {"t": 162, "low": 155, "high": 167}


def runs(values: dict[str, list[float]], t: int = 162) -> tuple[list[Run], pd.DataFrame]:
    """Runs of variants with a seed each value, and their average composite."""
    made = [
        Run(name=f"{v}-auto-{seed}", variant=v, asked="auto", t=t, seed=seed)
        for v, own in values.items()
        for seed in range(len(own))
    ]
    numbers = [value for own in values.values() for value in own]
    rows = [(run.name, "average", value) for run, value in zip(made, numbers, strict=True)]
    return made, pd.DataFrame(rows, columns=["run", "benchmark", "value"])


def test_mean_and_spread_by_hand() -> None:
    made, composites = runs({"full": [0.5, 0.7, 0.9], "no_lrr": [0.1, 0.1, 0.4]})
    found = ablation.spread(composites, made).set_index("variant")
    assert found["mean"].tolist() == pytest.approx([0.7, 0.2])
    assert found["sd"].tolist() == pytest.approx([0.2, 0.03**0.5])  # n - 1 in the denominator
    assert found.loc["full", ["least", "largest", "seeds", "t"]].tolist() == [0.5, 0.9, 3, 162]
    text = ablation.table(found.reset_index())
    assert "| full, t = 162 (auto) | 3 | 0.700 ± 0.200 |" in text


def test_one_seed_has_no_spread_and_says_so() -> None:
    made, composites = runs({"full": [0.5], "no_lrr": [0.25]})
    found = ablation.spread(composites, made)
    assert found["sd"].isna().all()
    assert "| 1 | 0.500 |" in ablation.table(found)
    said = ablation.verdict(composites, made)
    assert said[0] == "Best average composite: full, t = 162 (auto), 0.500."
    assert said[1].startswith("One seed: ")


def test_neighbours_are_compared_seed_by_seed() -> None:
    values = {"no_lrr": [0.1, 0.1, 0.4], "full": [0.5, 0.7, 0.3], "to_hq": [0.0] * 3}
    made, composites = runs(values)
    said = ablation.verdict(composites, made)
    assert len(said) == 3
    # 0.4, 0.6, -0.1: mean 0.3, sd 0.361; above with two seeds.
    assert "full, t = 162 (auto) is above no_lrr, t = 162 (auto) by 0.300 (sd 0.361)" in said[1]
    assert said[1].endswith("with 2 of 3 seeds.")
    assert said[2].endswith("with 3 of 3 seeds.")


def test_runs_without_a_composite_are_no_zero() -> None:
    made, composites = runs({"full": [0.5, 0.7], "no_lrr": [0.1, 0.2]})
    composites["value"] = None
    assert "–" in ablation.table(ablation.spread(composites, made))
    assert ablation.verdict(composites, made)[0].startswith("No average composite score")
    ablation.figure(ablation.spread(composites, made), composites, made, STAR)


@pytest.mark.parametrize("count", [2, 5])
def test_the_figure_has_every_setting_and_t_star(count: int) -> None:
    made, rows = [], []
    for t in range(1, 100 * count, 100):
        for seed in (0, 1):
            made.append(Run(name=f"v-{t}-{seed}", variant="v", asked=str(t), t=t, seed=seed))
            rows += [(made[-1].name, b, t / 1000 + seed / 9) for b in ("one", "average")]
    composites = pd.DataFrame(rows, columns=["run", "benchmark", "value"])
    figure = ablation.figure(ablation.spread(composites, made), composites, made, STAR, paper=True)
    (axes,) = figure.axes
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    if count == 2:
        assert [t.get_text() for t in axes.get_xticklabels()] == ["v\nt = 1", "v\nt = 101"]
        assert {"one", "average, a seed each"} < set(labels)
    else:
        assert {"v, one", "v, average", "t* = 162 (Eq. 5), 95 %"} < set(labels)
        assert axes.lines[0].get_label() == "the paper's average (Table 5)"
        whole = next(line for line in axes.lines if line.get_label() == "v, average")
        assert list(whole.get_xdata()) == [1, 101, 201, 301, 401]


def test_the_shipped_ablations_are_the_papers() -> None:
    settings = config.load(ROOT)
    found = {name: len(one.runs) for name, one in settings.ablations.items()}
    assert found == {"timestep": 12, "lrr": 9, "perceptual": 6, "osediff": 6}
    paper = config.load(ROOT, "paper", ready=False).ablations
    assert {name: one.timesteps for name, one in paper.items()} == {
        name: one.timesteps for name, one in settings.ablations.items()
    }
    assert "lpips" in paper["perceptual"].variants  # whose weights the mini profile does not have
    assert not any("lpips" in settings.variants[r.variant].losses
                   for one in settings.ablations.values() for r in one.runs)  # fmt: skip


def test_the_options_name_the_runs() -> None:
    plan = config.load(ROOT).ablations["osediff"]
    assert dvc_experiments.options(plan.axes) == [
        "-S", "sweep.variants=[osediff_ssim]", "-S", "sweep.timesteps=[999,auto]",
        "-S", "sweep.seeds=[0,1,2]",
    ]  # fmt: skip


QUEUE = (
    "Task     Name        Created    Status\n"
    "0a1b2c3  lrr-a-0     07:20 AM   Running\n"
    "1a1b2c3  lrr-b-0     07:19 AM   Success\n"
    "2a1b2c3  lrr-a-0     Nov 20, 2026  Failed\n"
    "\nWorker status: 1 active, 2 idle\n"
)


def queue(monkeypatch: pytest.MonkeyPatch, *outputs: str) -> None:
    """DVC says these one after the other, and then the last one again."""
    left = list(outputs)

    def run(*_: Any, **__: Any) -> Any:
        said = left.pop(0) if len(left) > 1 else left[0]
        return subprocess.CompletedProcess([], 0, stdout=said, stderr="ERROR: locked")

    monkeypatch.setattr(dvc_experiments.subprocess, "run", run)
    monkeypatch.setattr(dvc_experiments, "POLL", 0.0)
    monkeypatch.setattr(dvc_experiments, "PATIENCE", 0.0)


def test_a_try_that_runs_counts_before_one_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    queue(monkeypatch, QUEUE)
    assert dvc_experiments.status() == ({"lrr-a-0": "Running", "lrr-b-0": "Success"}, 3)


def test_a_locked_queue_is_not_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    queue(monkeypatch, "", QUEUE)
    assert dvc_experiments.status()[1] == 3
    queue(monkeypatch, "")
    with pytest.raises(ChildProcessError, match="status` failed: ERROR: locked"):
        dvc_experiments.status()


def test_a_queue_without_workers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    queue(monkeypatch, QUEUE.replace("1 active, 2", "0 active, 0"))
    with pytest.raises(ChildProcessError, match=r"1 runs left and no worker"):
        dvc_experiments.wait("lrr", ["lrr-a-0", "lrr-b-0"])
    dvc_experiments.wait("lrr", ["lrr-b-0"])


def test_a_failed_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    queue(monkeypatch, QUEUE, QUEUE.replace("Running", "Failed"))
    with pytest.raises(ChildProcessError, match="lrr-a-0 failed; see `dvc queue logs"):
        dvc_experiments.wait("lrr", ["lrr-a-0", "lrr-b-0"])


def test_an_unknown_ablation_is_refused_with_the_known_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="unknown ablation 'lpr'; did you mean 'lrr'"):
        ablate.main(["lpr"], 0)
    with pytest.raises(ChildProcessError, match="git rev-parse HEAD"):
        ablate.main(["lrr"], 0)  # not a repository


@pytest.mark.parametrize("number", [1, 2, 4, 5])
def test_the_papers_numbers_give_the_order_that_it_reports(number: int) -> None:
    rows = [
        line
        for line in ablate.printed(number).splitlines()
        if line.startswith("| ") and "run" not in line
    ]
    best = {1: "osediff-273", 2: "full", 4: "full", 5: "no_lrr-273"}
    assert rows[0].startswith(f"| {best[number]} |")

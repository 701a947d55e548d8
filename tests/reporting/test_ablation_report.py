"""Every number of the committed ablation reports comes from the scores beside it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omgsr import config
from omgsr.core import files, frames
from omgsr.evaluation import metrics
from omgsr.reporting import ablation_report
from omgsr.reporting.settings import Claim

ROOT = Path(__file__).parents[2]
STAR = {"t": 200, "low": 190, "high": 210}
LOWER = {"psnr": False}
REPORTS = sorted(ROOT.glob("reports/ablations/*/*/run.json"))


@pytest.mark.parametrize("path", REPORTS, ids=lambda path: "-".join(path.parts[-3:-1]))
def test_a_committed_report_is_that_of_its_scores(path: Path) -> None:
    folder, profile = path.parent, path.parts[-3]
    plan = config.load(ROOT, profile).ablations[folder.name]
    scores = frames.scores(files.read_text(folder / "scores.csv"))
    compared = set(scores["metric"])
    lower = {
        name: metrics.traits(name).lower_better
        for name in config.load(ROOT, profile).score.compared
        if name in compared
    }
    star = files.read_json(path)["timestep"]
    found = ablation_report.numbers(scores, star, lower, plan.claims)
    for name, frame in (("composite", found.summary), ("spread", found.spread)):
        stored = pd.read_csv(folder / f"{name}.csv")
        pd.testing.assert_frame_equal(stored, frame, check_dtype=False, atol=1e-6, rtol=0)
    text = files.read_text(folder / "README.md")
    assert found.table in text
    for line in found.verdict:
        assert f"- {line}\n" in text
    for claim, verdict, numbers in found.judged:
        assert f"| {claim.says} | **{verdict}** | {numbers} |\n" in text


def scores_of(values: dict[str, list[float]], noise: float = 0.0) -> pd.DataFrame:
    """Twenty images of one benchmark, scored by psnr around a mean for every run."""
    rng = np.random.default_rng(0)
    rows = []
    for variant, means in values.items():
        for seed, mean in enumerate(means):
            images = mean + noise * rng.standard_normal(20)
            own = [*((f"{i:02d}", v) for i, v in enumerate(images)), ("", images.mean())]
            rows += [(f"{variant}-auto-{seed}", "set", i, "psnr", v) for i, v in own]
    rows += [("bicubic", "set", "", "psnr", 0.0)]
    return pd.DataFrame(rows, columns=["run", "benchmark", "image", "metric", "value"])


@pytest.mark.parametrize(
    ("values", "noise", "verdict"),
    [
        ({"full": [25, 25.1, 24.9], "none": [20, 20.1, 19.9]}, 0.5, "seen"),
        ({"full": [20, 20.1, 19.9], "none": [25, 25.1, 24.9]}, 0.5, "not seen"),
        ({"full": [25, 20, 24], "none": [20, 25, 23]}, 0.5, "cannot be told"),
        ({"full": [25.0, 25.1, 24.9], "none": [24.7, 24.8, 24.6]}, 9.0, "cannot be told"),
        ({"full": [25], "none": [20]}, 0.0, "cannot be told"),
    ],
)
def test_a_statement_is_seen_where_images_and_seeds_agree(
    values: dict[str, list[float]], noise: float, verdict: str
) -> None:
    claim = Claim(says="full is better", kind="above", first="full", second="none")
    found = ablation_report.numbers(scores_of(values, noise), STAR, LOWER, [claim])
    assert found.judged[0][1] == verdict, found.judged[0][2]


def test_the_worst_is_judged_against_the_next() -> None:
    values = {"a": [25, 25.1, 24.9], "b": [24, 24.1, 24.2], "c": [20, 20.1, 19.9]}
    timed = {"a": "v-200", "b": "v-300", "c": "v-999"}
    scores = scores_of(values, 0.1)
    for variant, name in timed.items():
        scores["run"] = scores["run"].str.replace(f"^{variant}-auto", name, regex=True)
    claims = [
        Claim(says="999 is the worst", kind="worst", first=999),
        Claim(says="300 is the worst", kind="worst", first=300),
        Claim(says="t* is on the plateau", kind="plateau", first="auto"),
        Claim(says="999 is on the plateau", kind="plateau", first=999),
    ]
    judged = ablation_report.numbers(scores, STAR, LOWER, claims).judged
    assert [verdict for _, verdict, _ in judged] == ["seen", "not seen", "seen", "not seen"]
    assert "times the seeds' spread" in judged[0][2]


def test_another_kind_of_statement_is_refused() -> None:
    with pytest.raises(ValueError, match="second: `above` needs it"):
        Claim(says="", kind="above", first="full")

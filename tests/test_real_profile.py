"""The profile `real` by real DVC on real low-quality photographs, with a training of seconds.

OMGSR_REAL_DATA=/data python -m pytest -m slow tests/test_real_profile.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from tests.test_pipeline import Project, small

pytestmark = [pytest.mark.slow, pytest.mark.real]

COMMAND = ("exp", "run", "-S", "profile=real", "-S", "sweep.methods=[bicubic,osediff_outputs]")
"""As configs/real.yaml says it."""
OSEDIFF = "osediff_outputs"


@pytest.fixture(scope="module")
def project(checkout: Path, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = small(checkout, tmp_path_factory.mktemp("real") / "omgsr")
    yaml, path = YAML(), made.folder / "configs/real.yaml"
    assert "dvc " + " ".join(f"'{w}'" if "[" in w else w for w in COMMAND) in path.read_text()
    values = yaml.load(path)
    values["data"]["train"].update(photographs=["astronaut", "coins"], dead_leaves=1)
    values["data"]["crops_per_image"] = 4
    values["train"].update(steps=8, batch=2, checkpoint_every=4, log_every=1, preview_every=8)
    values["benchmarks"]["real47"]["lq"]["folders"][0].update(first=3, expected=3)
    yaml.dump(values, path)
    links = made.folder / "data/benchmarks"
    (links / "osediff").mkdir(parents=True)
    for name in ("realsr", "real47"):
        (links / name).symlink_to(real_data.resolve() / name)
    (links / "osediff/realsr20").symlink_to(real_data.resolve() / "osediff_realsr")
    made.run("git", "commit", "-qam", "a training of seconds")
    made.dvc(*COMMAND)
    return made


def frame(project: Project, name: str) -> pd.DataFrame:
    path = project.folder / f"reports/{name}.csv"
    return pd.read_csv(path).set_index(["run", "benchmark", "metric"]).sort_index()


def test_someone_elses_outputs_have_their_published_scores_with_intervals(
    project: Project, real_data: Path
) -> None:
    log = pd.read_csv(real_data / "osediff_realsr/scores.csv").set_index("image")
    names = [path.name for path in (real_data / "osediff_realsr").glob("*.png")]
    found = frame(project, "intervals")
    for metric, tolerance in (("psnr", 1e-4), ("ssim", 1e-4), ("niqe", 0.03)):
        one = found.loc[(OSEDIFF, "realsr20", metric)]
        assert one["images"] == len(names) == 20
        assert one["mean"] == pytest.approx(log.loc[names, metric].mean(), abs=tolerance)
        assert one["low"] < one["mean"] < one["high"]
    gaps = frame(project, "differences")
    wins = gaps.loc[(OSEDIFF, "realsr20", "niqe")]
    assert (wins["won"], wins["lost"]) == (18, 2)  # against bicubic
    assert set(found.loc[OSEDIFF].index.get_level_values("benchmark")) == {"realsr20"}


def test_bicubic_on_realsr_has_its_known_psnr(project: Project) -> None:
    one = frame(project, "intervals").loc[("bicubic", "realsr", "psnr")]
    assert one["mean"] == pytest.approx(27.1128, abs=1e-3)
    assert one["images"] == 100


def test_the_papers_values_stand_beside_the_complete_benchmark_alone(project: Project) -> None:
    text = (project.folder / "reports/tables/table3.md").read_text()
    row = next(line for line in text.splitlines() if "| niqe ↓" in line)
    assert "<ins>5.3984</ins>" in row
    assert "**5.1893**" in row
    assert "RealESRGAN (paper)" in text
    assert OSEDIFF not in text
    assert "realsr20" not in text
    table = (project.folder / "reports/tables/scores.md").read_text()
    assert all(f"| {name} " in table for name in ("realsr", "realsr20", "real47"))
    assert "RealESRGAN" not in table


def test_every_picture_is_on_the_page_and_lq_alone_has_no_reference(project: Project) -> None:
    html = (project.folder / "reports/index.html").read_text()
    assert html.count('<figure class="compare">') == 4 + 4 + 3
    assert html.count(f'<option value="{OSEDIFF}"') == 2 * 4  # left and right, on realsr20
    found = frame(project, "intervals").loc[("bicubic", "real47")]
    assert set(found.index) == {"niqe"}
    card = json.loads((project.folder / f"runs/{OSEDIFF}/method.json").read_text())
    assert len(card["sha256"]) == 64

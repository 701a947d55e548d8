"""The profile `real` by real DVC on real low-quality photographs, with a training of seconds.

OMGSR_REAL_DATA=/data python -m pytest -m slow tests/stages/test_real_profile.py
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from ruamel.yaml import YAML

from tests.stages.test_pipeline import Project, small

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
    # OSEDiff's twenty pairs whole; of the others a few, as every image takes a second or more.
    values["benchmarks"]["real47"]["lq"]["folders"][0].update(names="4[89]", expected=2)
    for side in ("lq", "hq"):
        values["benchmarks"]["realsr"][side]["folders"][0].update(first=3, expected=3)
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


def test_a_method_has_dashes_where_it_has_no_outputs(project: Project) -> None:
    table = (project.folder / "reports/tables/scores.md").read_text()
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    column = [cell.strip() for cell in rows[0]].index(OSEDIFF)
    benchmark, found = "", dict[str, set[bool]]()
    for row in rows[2:]:
        benchmark = row[0].strip() or benchmark
        found.setdefault(benchmark, set()).add(row[column].strip() == "–")
    assert found == {"realsr": {True}, "realsr20": {False}, "real47": {True}}


def test_nothing_of_the_paper_stands_beside_a_part_of_a_benchmark(project: Project) -> None:
    assert not (project.folder / "reports/tables/table3.md").exists()
    html = (project.folder / "reports/index.html").read_text()
    assert "None of the paper&#39;s tables is about these runs" in html


def test_every_picture_is_on_the_page_and_lq_alone_has_no_reference(project: Project) -> None:
    html = (project.folder / "reports/index.html").read_text()
    assert html.count('<figure class="compare">') == 3 + 4 + 2
    assert html.count(f'<option value="{OSEDIFF}"') == 2 * 4  # left and right, on realsr20
    found = frame(project, "intervals").loc[("bicubic", "real47")]
    assert set(found.index) == {"niqe"}
    card = json.loads((project.folder / f"runs/{OSEDIFF}/method.json").read_text())
    assert len(card["sha256"]) == 64

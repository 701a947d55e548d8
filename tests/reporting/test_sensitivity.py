"""t* of stored moments: equal to the timestep stage's own, firm with more images, from files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from omgsr.method import timestep
from omgsr.reporting import sensitivity
from stages.experiments import sensitivity as stage
from tests.helpers import models

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def snr() -> np.ndarray:
    alpha_bar = models.scheduler().alphas_cumprod.double().numpy()
    return alpha_bar / (1 - alpha_bar)


def moments(count: int, error: float, what: str, value: str, seed: int = 0) -> pd.DataFrame:
    """Images whose errors spread around `error`."""
    rng = np.random.default_rng(seed)
    made = {
        "power": rng.uniform(0.5, 1.5, count), "error": error * rng.lognormal(0, 0.5, count),
        "image": [f"image{i}" for i in range(count)],
    }  # fmt: skip
    frame = pd.DataFrame(made).assign(what=what, value=value, backbone="mini")
    return frame[list(sensitivity.MOMENTS)]


@pytest.fixture(scope="module")
def found(snr: np.ndarray) -> pd.DataFrame:
    other = moments(50, 0.3, "degradation", "hard", seed=1)
    own = moments(300, 0.1, sensitivity.OWN, "mini")
    return sensitivity.table(pd.concat([own, other]), {"mini": snr}, 100, 0)


def test_the_profiles_own_line_is_what_the_timestep_stage_finds(
    found: pd.DataFrame, snr: np.ndarray
) -> None:
    own = moments(300, 0.1, sensitivity.OWN, "mini")
    expected = timestep.find(own["power"].to_numpy(), own["error"].to_numpy(), snr, 100, 0)
    first = found.iloc[0]
    assert (first["what"], first["images"], first["shift"]) == (sensitivity.OWN, 300, 0)
    assert (first["t"], first["low"], first["high"]) == (expected.t, expected.low, expected.high)


def test_more_images_make_t_star_firmer(found: pd.DataFrame) -> None:
    parts = found[found["what"] == "images"]
    assert parts["images"].tolist() == [10, 20, 40, 80, 160]
    widths = (parts["high"] - parts["low"]).tolist()
    assert widths == sorted(widths, reverse=True)
    whole = found.iloc[0]["t"]
    assert ((parts["low"] <= whole) & (whole <= parts["high"])).all()


def test_more_noise_means_a_later_timestep(found: pd.DataFrame) -> None:
    hard = found[found["value"] == "hard"].iloc[0]
    assert hard["shift"] == hard["t"] - found.iloc[0]["t"] > 50


def test_every_line_is_in_the_table_and_the_figure(found: pd.DataFrame) -> None:
    text = sensitivity.markdown(found).splitlines()
    assert len(text) == 2 + len(found)
    assert text[2].startswith("| profile | mini | 300 |")
    labels = [label.get_text() for label in sensitivity.figure(found).axes[0].get_yticklabels()]
    assert labels[0] == "profile: mini"
    assert labels[-1] == "degradation: hard"


def test_the_command_needs_the_stored_numbers_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, snr: np.ndarray
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / stage.OUT
    out.mkdir(parents=True)
    own = moments(60, 0.1, sensitivity.OWN, "mini")
    own.to_csv(out / "moments.csv", index=False)
    ratios = pd.DataFrame({"backbone": "mini", "t": range(1, len(snr) + 1), "snr": snr})
    ratios.to_csv(out / "snr.csv", index=False)
    stage.main({}, stored=True)
    table = pd.read_csv(out / "sensitivity.csv")
    assert table["images"].tolist() == [60, 10, 20, 40]
    assert (out / "sensitivity.png").stat().st_size > 1000
    assert "| images | 40 |" in (out / "README.md").read_text()
    assert "at commit" not in (out / "README.md").read_text()  # no git here

    author = ("-c", "user.name=t", "-c", "user.email=t@t")
    for words in (("init", "-q"), ("add", "-A"), (*author, "commit", "-qm", "numbers")):
        subprocess.run(["git", *words], check=True)
    ask = ["git", "rev-parse", "--short=12", "HEAD"]
    named = subprocess.run(ask, capture_output=True, check=True)
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "later"], check=True)
    stage.main({}, stored=True)
    expected = f"`make sensitivity` at commit {named.stdout.decode().strip()}. Profile mini"
    assert expected in (out / "README.md").read_text()


def test_a_foundation_is_named_with_its_folder(tiny: Path, tmp_path: Path) -> None:
    assert stage.named(f"small={tiny}") == ("small", tiny)
    for text in ("small", f"={tiny}", f"small={tmp_path}"):
        with pytest.raises(stage.argparse.ArgumentTypeError, match="give NAME=FOLDER"):
            stage.named(text)

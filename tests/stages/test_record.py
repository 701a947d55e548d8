"""record: MLflow holds every run whatever DVC skipped, and can be deleted at any time."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from omgsr.config import load
from omgsr.core.fingerprint import sha256
from stages import record
from stages.tracking import evidence

RUN = "full-auto-0"
Stage = Callable[..., "subprocess.CompletedProcess[str]"]
TERMS = ("lrr", "l1")


def write_csv(path: Path, *lines: tuple[object, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def write_reports(root: Path, composite: float) -> None:
    write_csv(
        root / "reports/scores.csv",
        ("run", "benchmark", "image", "metric", "value"),
        ("full-auto-0", "mini_standard", "", "psnr", 26.5),
        ("full-auto-0", "mini_standard", "chelsea", "psnr", 26.5),
        ("full-auto-0", "mini_lq_photos", "", "niqe", 11.0),
        ("bicubic", "mini_standard", "", "psnr", 25.5),
        ("bicubic", "mini_standard", "", "lpips", ""),
    )
    write_csv(
        root / "reports/composite.csv",
        ("run", "benchmark", "composite"),
        ("full-auto-0", "mini_standard", composite),
        ("full-auto-0", "average", composite),
        ("bicubic", "average", ""),
    )
    timestep = {"t": 154, "images": 8, "low": 150, "high": 160}
    (root / "reports/timestep.json").write_text(json.dumps(timestep))
    for name in ("tables/psnr.md", "figures/mini_standard.png", "timestep.png", "contract.json"):
        (root / "reports" / name).parent.mkdir(exist_ok=True)
        (root / "reports" / name).write_text(f"{name} {composite}")


def write_run(root: Path) -> None:
    run = root / "runs" / "full-auto-0"
    (run / "model").mkdir(parents=True)
    (run / "model" / "omgsr.json").write_text(json.dumps({"t": 154, "losses": {"lrr": 5.0}}))
    # A row of a validation every ten steps; the other rows leave its column empty.
    steps = [(s, 1.0 / s, 2.0, 20.0 + s if s % 10 == 0 else "") for s in range(1, 31)]
    write_csv(run / "train" / "history.csv", ("step", *TERMS, "val/psnr"), *steps)
    times = {"mlflow_run_id": "abc", "start": 1000.0, "end": 1060.5, "peak_memory_gib": 1.5}
    beside = root / "work/times" / f"{sha256(run / 'model/omgsr.json')[:16]}.json"
    beside.parent.mkdir(parents=True, exist_ok=True)
    beside.write_text(json.dumps(times))
    (run / "train" / "previews").mkdir()
    for path in ("train/previews/step-000030.png", "sr/mini_standard/chelsea.png"):
        picture(run / path)
    for name in ("vae_encoder_lora_adapter", "unet_lora_adapter"):
        (run / "model" / name).mkdir()
        (run / "model" / name / "adapter_model.safetensors").write_bytes(b"weights")


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(path)


def write_data(root: Path) -> None:
    columns = ("name", "hq", "lq", "resize", "top", "left", "height", "width")
    row = ("a", "", "data/pairs/x/lq/a.png", 0, 0, 0, 0, 0)
    names = ("train", "mini_standard", "mini_light", "mini_lq_photos", "mini_lq_leaves")
    for name in names:
        write_csv(root / f"data/pairs/{name}.csv", columns, row)
        picture(root / f"data/pairs/{name}/lq/a.png")


def write_method(root: Path) -> None:
    made = {"kind": "bicubic", "options": {}, "notes": []}
    (root / "runs/bicubic").mkdir()
    (root / "runs/bicubic/method.json").write_text(json.dumps(made))


def write_lock(root: Path, model: str) -> None:
    stages = ("train@full-auto-0", "infer@full-auto-0", "score@full-auto-0")
    names = (*stages, "baseline@bicubic", "score_baseline@bicubic")
    deps = [{"path": "data/pairs/train", "md5": "1.dir"}, {"path": "foundation", "md5": "2.dir"}]
    outs = [{"path": "x", "md5": model}]
    entries = {name: {"cmd": name, "deps": deps, "outs": outs} for name in names}
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": entries}))


@pytest.fixture
def project(tmp_path: Path, checkout: Path) -> Path:
    """A folder as the pipeline leaves it, with this project's own settings."""
    shutil.copy(checkout / "params.yaml", tmp_path)
    shutil.copytree(checkout / "configs", tmp_path / "configs")
    for package in ("omgsr", "stages"):
        (tmp_path / package).symlink_to(checkout / package)
    write_reports(tmp_path, 0.75)
    write_run(tmp_path)
    write_method(tmp_path)
    write_data(tmp_path)
    write_lock(tmp_path, "1")
    return tmp_path


@pytest.fixture
def stage(project: Path) -> Stage:
    """Runs the stage as DVC does, in a process of its own."""

    def run(**environment: str) -> "subprocess.CompletedProcess[str]":
        given = {**os.environ, "DVC_ROOT": str(project), **environment}
        if not environment.get("MLFLOW_TRACKING_URI"):
            given.pop("MLFLOW_TRACKING_URI", None)
        command = [sys.executable, "-m", "stages.record"]
        return subprocess.run(
            command, cwd=project, env=given, capture_output=True, text=True, timeout=120
        )

    return run


def stored(project: Path) -> tuple[MlflowClient, dict[str, Run]]:
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("omgsr")
    assert experiment is not None
    return client, {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}


def test_a_temporary_copy_records_into_the_workspace(project: Path, tmp_path: Path) -> None:
    """`dvc exp run --temp`: the working directory is a copy, which has no store of its own."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    given = {**os.environ, "DVC_ROOT": str(workspace)}
    given.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "stages.record"]
    done = subprocess.run(
        command, cwd=project, env=given, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "full-auto-0" in stored(workspace)[1]
    assert not (project / "mlflow.db").exists()


def test_every_run_is_recorded_once_and_whole(project: Path, stage: Stage) -> None:
    first, second = stage(), stage()
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert "MLflow: 2 new, 0 already there" in first.stdout
    assert "compareRunsMode=CHART" in first.stdout
    assert "MLflow: 0 new, 2 already there" in second.stdout

    client, runs = stored(project)
    assert set(runs) == {"full-auto-0", "bicubic"}
    full = runs["full-auto-0"]
    assert full.data.metrics == {
        "mini_standard/psnr": 26.5,
        "mini_lq_photos/niqe": 11.0,
        "mini_standard/composite": 0.75,
        "composite": 0.75,
        "t_star": 154,
        "train/lrr": 1.0 / 30,
        "train/l1": 2.0,
        "val/psnr": 50.0,
        "peak_memory_gib": 1.5,
    }
    assert full.data.params["model.t"] == "154"
    assert full.data.params["losses.lrr"] == "5.0"
    assert full.data.params["losses.to_hq"] == "0.0"  # left out, and yet comparable
    assert not [name for name in full.data.params if name.startswith(("ablations", "model.losses"))]
    assert full.data.params["benchmarks.mini_standard.crop"] == "192"
    assert full.data.tags["omgsr.live_run"] == "abc"
    assert (full.info.start_time, full.info.end_time) == (1_000_000, 1_060_500)
    curve = client.get_metric_history(full.info.run_id, "train/lrr")
    assert sorted((m.step, m.value) for m in curve) == [(s, 1.0 / s) for s in range(1, 31)]
    files = [f.path for f in client.list_artifacts(full.info.run_id)]
    assert files == ["contract.json", "dvc.lock", "figures", "images", "tables"]
    validated = client.get_metric_history(full.info.run_id, "val/psnr")
    assert sorted((m.step, m.value) for m in validated) == [(10, 30.0), (20, 40.0), (30, 50.0)]
    pictures = [f.path for f in client.list_artifacts(full.info.run_id, "figures")]
    assert pictures == ["figures/mini_standard.png", "figures/timestep.png"]

    bicubic = runs["bicubic"]
    assert bicubic.data.metrics["mini_standard/psnr"] == 25.5
    assert "composite" not in bicubic.data.metrics
    assert not any(name.startswith(("train", "model")) for name in bicubic.data.params)
    assert bicubic.data.params["method"] == bicubic.data.params["baseline.kind"] == "bicubic"


def test_a_deleted_store_comes_back_and_a_new_model_is_a_new_run(
    project: Path, stage: Stage
) -> None:
    assert stage().returncode == 0
    (project / "mlflow.db").unlink()
    shutil.rmtree(project / "mlartifacts")
    assert "2 new, 0 already" in stage().stdout
    write_lock(project, "2")
    assert "2 new, 0 already" in stage(DVC_EXP_NAME="t573", DVC_EXP_BASELINE_REV="f00").stdout
    write_reports(project, 0.5)
    assert "0 new, 2 already" in stage().stdout
    write_lock(project, "1")
    assert "0 new, 2 already" in stage().stdout
    client, _ = stored(project)
    query = "tags.`dvc.exp_name` = 't573' and attributes.run_name = 'full-auto-0'"
    (named,) = client.search_runs(["1"], query)
    assert named.data.metrics["composite"] == 0.5
    assert named.data.tags["dvc.baseline_rev"] == "f00"
    assert "dvc exp apply t573" not in named.data.tags["mlflow.note.content"]


def test_a_run_has_its_model_data_pictures_and_sweep(project: Path, stage: Stage) -> None:
    assert stage().returncode == 0
    client, runs = stored(project)
    full = runs[RUN]
    version = client.get_model_version_by_alias("omgsr", RUN)
    assert version.run_id == full.info.run_id
    (model,) = [output.model_id for output in full.outputs.model_outputs]
    assert version.source == client.get_logged_model(model).artifact_location
    files = [f.path for f in client.list_logged_model_artifacts(model, "artifacts/model")]
    assert "artifacts/model/omgsr.json" in files
    assert not runs["bicubic"].outputs.model_outputs
    used = {one.dataset.name: one.tags[0].value for one in full.inputs.dataset_inputs}
    assert used.pop("train") == "training"
    assert set(used.values()) == {"evaluation"}
    assert "mini_standard" in used
    images = [f.path for f in client.list_artifacts(full.info.run_id, "images")]
    assert any(path.startswith("images/restored~mini_standard+step+0") for path in images)
    assert any(path.startswith("images/preview+step+30") for path in images)
    assert {"variant", "t", "seed", "sweep"} <= full.data.tags.keys()
    mine = {name for name in full.data.tags if name.startswith("sweep.")}
    assert mine == {name for name in runs["bicubic"].data.tags if name.startswith("sweep.")}
    assert full.info.run_id in full.data.tags["mlflow.note.content"]


def test_what_was_deleted_in_the_pages_comes_back(project: Path, stage: Stage) -> None:
    assert stage().returncode == 0
    client, runs = stored(project)
    client.delete_run(runs["bicubic"].info.run_id)
    client.delete_registered_model("omgsr")
    assert "1 new, 1 already" in stage().stdout
    assert client.get_model_version_by_alias("omgsr", RUN).run_id == runs[RUN].info.run_id
    client.delete_run(runs[RUN].info.run_id)
    assert "1 new, 1 already" in stage().stdout
    _, again = stored(project)
    assert set(again) == {RUN, "bicubic"}
    assert client.get_model_version_by_alias("omgsr", RUN).run_id == again[RUN].info.run_id


def test_an_unreachable_store_loses_nothing(project: Path, stage: Stage) -> None:
    failed = stage(MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert failed.returncode == 1
    assert "127.0.0.1:9" in failed.stderr
    assert "Nothing is lost" in failed.stderr
    assert "Traceback" not in failed.stderr
    kept = stage(MLFLOW_TRACKING_URI="http://127.0.0.1:9", DVC_EXP_NAME="mine")
    assert kept.returncode == 0  # DVC throws away an experiment that fails
    assert "`dvc exp apply mine`, then `dvc repro`, records them" in kept.stderr
    assert "2 new" in stage().stdout


@pytest.mark.parametrize(
    "path",
    [
        "reports/timestep.json",
        "reports/scores.csv",
        "runs/full-auto-0/model/omgsr.json",
        "dvc.lock",
    ],
)
def test_a_missing_output_is_named(
    path: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / path).unlink()
    with pytest.raises((OSError, ValueError), match=path):
        record.main()


def test_a_run_that_dvc_did_not_lock_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    with pytest.raises(FileNotFoundError, match="train@no_lrr-1-0"):
        record.lock_entries(evidence.share(load()).locked, "no_lrr-1-0", ("train", "infer"))


def run_git(*commands: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in commands:
        subprocess.run(["git", *identity, *command.split()], check=True)


def test_the_way_back_is_commit_changes_and_lock(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    assert evidence.origin() == ("", "")
    assert "git.commit" not in evidence.tags(RUN, "mini", None, evidence.origin())
    run_git("init -q", "add params.yaml dvc.lock", "commit -q -m x")
    clean = evidence.tags(RUN, "mini", None, evidence.origin())
    assert len(clean["git.commit"]) == 40
    assert f"git checkout {clean['git.commit'][:12]}\n" in clean["mlflow.note.content"]
    assert f"dvc checkout runs/{RUN}" in clean["mlflow.note.content"]
    assert "changes.patch" not in clean["mlflow.note.content"]
    changed = (project / "params.yaml").read_text() + "# changed\n"
    (project / "params.yaml").write_text(changed)
    (project / "dvc.lock").write_text("{}")  # is the result, not a change of what made it
    commit, patch = evidence.origin()
    told = evidence.tags(RUN, "mini", None, (commit, patch))
    assert told["git.changed"] == "params.yaml"
    assert "git apply changes.patch" in told["mlflow.note.content"]
    (project / "changes.patch").write_text(patch)
    run_git("checkout params.yaml", "apply changes.patch")
    assert (project / "params.yaml").read_text() == changed


def test_long_curves_are_thinned_to_what_the_pages_show(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    steps = [(step, 1.0, "") for step in range(1, 25_002)]
    write_csv(project / "runs/full-auto-0/train/history.csv", ("step", *TERMS), *steps)
    points = record.curves("full-auto-0")
    assert {name for name, _, _ in points} == {"train/lrr"}
    assert 900 <= len(points) <= record.CURVE


def test_nested_settings_become_flat_names() -> None:
    nested = {"a": {"b": {"c": 1e-5}, "d": [1, 2]}, "e": None, "f": "x", "g": True}
    flat = {"a.b.c": "1e-05", "a.d": "[1, 2]", "e": "null", "f": "x", "g": "true"}
    assert record.flatten(nested) == flat

"""A trained run as an MLflow model: loaded, served, and the same pictures as `omgsr upscale`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from omgsr import cli
from omgsr.inference import serving
from omgsr.method import run_card
from stages.tracking import recording
from stages.tracking.store import uri
from tests.helpers import models
from tests.method.test_run_card import fields
from tests.stages.test_server import free_port, until

ROOT = Path(__file__).resolve().parents[2]
T = 273


def encoded(*shape: int, dtype: type = np.uint8, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    file = BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "model"
    run_card.save(models.generator(tiny, T, trained=0.2), folder, fields(tiny, t=T))
    return folder


def upscaled(model: Path, tiny: Path, data: bytes, folder: Path, *more: str) -> bytes:
    """What `omgsr upscale` writes."""
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(data)
    words = [str(folder / "a.png"), "-o", str(folder / "out"), "--overwrite", *more]
    words += ["--model", str(model), "--foundation", str(tiny), "--device", "cpu"]
    assert cli.main(["upscale", *words]) == 0
    return (folder / "out/a.png").read_bytes()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((12, 10, 3), np.uint8), ((9, 8, 4), np.uint8), ((8, 8), np.uint16)]
)
def test_an_image_becomes_what_the_command_writes(
    model: Path, tiny: Path, tmp_path: Path, shape: tuple[int, ...], dtype: type
) -> None:
    restorer, data = serving.Restorer(model, tiny, "cpu"), encoded(*shape, dtype=dtype)
    assert restorer(data) == upscaled(model, tiny, data, tmp_path)
    half = upscaled(model, tiny, data, tmp_path, "--scale", "2", "--color", "wavelet")
    assert restorer(data, scale=2, color="wavelet") == half
    assert restorer(data) == upscaled(model, tiny, data, tmp_path)


def test_what_is_no_image_or_setting_is_named(model: Path, tiny: Path) -> None:
    restorer = serving.Restorer(model, tiny, "cpu")
    for bad in (b"", b"no image", encoded(8, 8, 3)[:60]):
        with pytest.raises(ValueError, match=r"^image: "):
            restorer(bad)
    with pytest.raises(ValueError, match="scale: got 17, allowed"):
        restorer(encoded(8, 8, 3), scale=17)
    with pytest.raises(ValueError, match="color: got 'blue', allowed: adain"):
        restorer(encoded(8, 8, 3), color="blue")  # type: ignore[arg-type]


def test_the_foundation_is_found_by_its_hash(
    model: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"which is not in .*none, .*foundation: run `dvc"):
        serving.load(model, (None, tmp_path / "none"))
    other = shutil.copytree(tiny, tmp_path / "other")
    about = json.loads((other / "foundation.json").read_text())
    (other / "foundation.json").write_text(json.dumps(about | {"sha256": "0" * 64}))
    assert serving.load(model, (other, tiny))(encoded(8, 8, 3))
    (tmp_path / "foundation").symlink_to(tiny)
    assert serving.load(model, (other,))(encoded(8, 8, 3))


@pytest.fixture(scope="module")
def store(model: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store with the run, as `record` makes it, in a workspace with its foundation."""
    with pytest.MonkeyPatch.context() as patch:
        workspace = tmp_path_factory.mktemp("workspace")
        (workspace / "foundation").symlink_to(tiny)
        patch.setenv("DVC_ROOT", str(workspace))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        given: dict[str, Any] = {"params": {}, "tags": {}}
        given |= dict.fromkeys(("points", "curves", "artifacts"), ())
        recording.record(
            [recording.Result(key="k", report="r", name="full-auto-0", model=model, **given)]
        )
        yield uri()


LOAD = """
import sys, warnings
import pandas as pd
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
model = mlflow.pyfunc.load_model("models:/omgsr@full-auto-0")
frame = pd.DataFrame({"image": [sys.stdin.buffer.read()]})
sys.stdout.buffer.write(model.predict(frame, params={"scale": 2.0})["image"][0])
"""


def environment(store: str) -> dict[str, str]:
    """As an activated environment whose OMGSR is this checkout."""
    return os.environ | {
        "MLFLOW_TRACKING_URI": store, "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip


@pytest.mark.slow
def test_mlflow_loads_the_run_by_its_name(
    store: str, model: Path, tiny: Path, tmp_path: Path
) -> None:
    data = encoded(12, 10, 3)
    done = subprocess.run(
        [sys.executable, "-c", LOAD], input=data, capture_output=True, cwd=tmp_path,
        env=environment(store),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == upscaled(model, tiny, data, tmp_path, "--scale", "2")


def test_the_model_holds_no_pickle_and_no_foundation(store: str) -> None:
    folder = Path(store.removeprefix("sqlite:///")).parent / "mlartifacts/models"
    files = {path.name for path in folder.rglob("*") if path.is_file()}
    assert {"MLmodel", "served.py", "omgsr.json", "adapter_model.safetensors"} <= files
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".pt"))]
    assert "foundation.json" not in files


def post(port: int, image: bytes, **params: object) -> dict[str, Any]:
    records = [{"image": base64.b64encode(image).decode()}]
    body = json.dumps({"dataframe_records": records, "params": params}).encode()
    header = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, header)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return {"status": error.code, **json.load(error)}


@pytest.mark.slow
def test_mlflow_serves_the_run(store: str, model: Path, tiny: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/omgsr@full-auto-0",
        "--env-manager", "local", "--port", str(port),
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment(store), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip

    def up() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) is not None
        except OSError:
            return False

    try:
        until(up, 180)
        data = encoded(12, 10, 3)
        (answer,) = post(port, data)["predictions"]
        assert base64.b64decode(answer["image"]) == upscaled(model, tiny, data, tmp_path)
        refused = post(port, b"no image")
        assert refused["status"] == 400
        assert "image: " in refused["message"]
        assert "color: got 'blue', allowed" in post(port, data, color="blue")["message"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()

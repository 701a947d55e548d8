"""What a result has in MLflow beside numbers: a model to load or serve, data sets, pictures."""

import json
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from stages import workspace

if TYPE_CHECKING:
    from mlflow import MlflowClient

REGISTERED = "omgsr"
"""The registered model; each run's name is an alias: models:/omgsr@full-auto-0."""
SERVED = Path(__file__).with_name("served.py")
Picture = tuple[Path, str, int]
"""A file, the key of its grid and its step."""
NEEDS = ("diffusers", "mlflow", "numpy", "pandas", "peft", "pillow", "safetensors", "torch")


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set that a run has used, identified by the digest of its manifest."""

    name: str
    context: str
    """`training` or `evaluation`."""
    path: str
    digest: str
    rows: int


def log_data(client: "MlflowClient", run: str, used: Iterable[Data]) -> None:
    """Say which data a run has used, as MLflow's pages show and filter it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(
                name=one.name,
                digest=one.digest,
                source_type="local",
                source=json.dumps({"uri": one.path}),
                profile=json.dumps({"images": one.rows}),
            ),
            tags=[InputTag("mlflow.data.context", one.context)],
        )
        for one in used
    ]
    if inputs:
        client.log_inputs(run, inputs)


def log_pictures(client: "MlflowClient", run: str, pictures: Iterable[Picture]) -> None:
    """Log (file, key, step) for MLflow's picture grids, which show one key of many runs."""
    from PIL import Image

    for path, key, step in pictures:
        with Image.open(path) as picture:
            client.log_image(run, picture.convert("RGB"), key=key, step=step)


def log_model(client: "MlflowClient", experiment: str, run: str, name: str, folder: Path) -> None:
    """Log a run's folder `model`, adapters and card, as a pyfunc model and a version of `omgsr`."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus
    from mlflow.exceptions import MlflowException

    made = client.create_logged_model(
        experiment, name, source_run_id=run, model_type="one-step upscaler"
    )
    with TemporaryDirectory() as temporary:
        target = Path(temporary, "model")
        _write_model(target, folder, run, made.model_id)
        client.log_model_artifacts(made.model_id, str(target))
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    client.log_outputs(run, [LoggedModelOutput(made.model_id, step=0)])
    with suppress(MlflowException):  # it exists
        client.create_registered_model(REGISTERED, description="Trained runs of OMGSR")
    # Not models:/<id>, which MLflow would look up in the store of the working directory.
    source = made.artifact_location
    client.create_model_version(REGISTERED, source, run, model_id=made.model_id)


def _write_model(target: Path, folder: Path, run: str, model: str) -> None:
    """Write MLflow's description of a model, served.py and a copy of `folder`; no pickle.

    The foundation is not copied: it is named, and its hash is in the run card.
    """
    with warnings.catch_warnings():
        # At its import MLflow warns of its own types; then of an example, which would load torch.
        warnings.simplefilter("ignore", UserWarning)
        import mlflow.pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

        images = Schema([ColSpec(DataType.binary, "image")])
        scale = ParamSpec("scale", DataType.double, 0.0)
        color = ParamSpec("color", DataType.string, "adain")
        mlflow.pyfunc.save_model(
            target,
            mlflow_model=Model(run_id=run, model_id=model),
            python_model=str(SERVED),
            artifacts={"model": str(folder.resolve())},
            model_config={"foundation": str(workspace() / "foundation")},
            signature=ModelSignature(images, images, ParamSchema([scale, color])),
            pip_requirements=[f"{package}=={version(package)}" for package in NEEDS],
        )


def publish(client: "MlflowClient", experiment: str, run: str, name: str, folder: Path) -> None:
    """Let models:/omgsr@<name> mean the model of this run, logged if the run has none yet."""
    from mlflow.exceptions import MlflowException

    with suppress(MlflowException):  # no such model or alias yet
        if client.get_model_version_by_alias(REGISTERED, name).run_id == run:
            return
    mine = f"name = '{REGISTERED}' and run_id = '{run}'"
    if not client.search_model_versions(mine, max_results=1):
        log_model(client, experiment, run, name, folder)
    (version,) = client.search_model_versions(mine, max_results=1)
    client.set_registered_model_alias(REGISTERED, name, version.version)

"""What MLflow runs when it loads a model that `record` has logged: code, no pickle.

The model is the run's folder `model`, adapters and card; the foundation is looked for and checked
by its hash (omgsr/inference/serving.py). OMGSR must be importable: `make install`, or PYTHONPATH.
"""

import os
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel


class Upscaler(PythonModel):
    """A column `image` of files (PNG, JPEG, ...) as bytes => the same column, restored, as PNG."""

    def load_context(self, context: Any) -> None:
        """Load the run onto the device that is there."""
        from omgsr.inference import serving

        places = (os.environ.get("OMGSR_FOUNDATION"), context.model_config["foundation"])
        self.restorer = serving.load(context.artifacts["model"], places)

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        """Restore each row; `params` are `scale`, 0 for the run's own, and `color`."""
        try:
            given = params or {}
            images = [self.restorer(bytes(data), **given) for data in model_input["image"]]
        except ValueError as error:  # of this type the server answers the reason
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return pd.DataFrame({"image": images})


set_model(Upscaler())

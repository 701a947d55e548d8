"""PyIQA's metrics, made without any download; what they need and which way is better.

Mode and direction are PyIQA's own (`default_model_configs.py`), so no list of ours can disagree.
"""

import contextlib
import difflib
import io
import pickle
import tempfile
import threading
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from numpy.typing import NDArray
from torch import Tensor

from omgsr.core.files import atomic
from omgsr.core.offline import MissingFile, offline
from omgsr.evaluation import fid
from omgsr.evaluation.fast_filters import FastFilters
from omgsr.evaluation.metric_table import OWN, inside, metric_table
from omgsr.evaluation.metric_weights import MIRROR, WeightFile, described, mirrored, published
from omgsr.evaluation.patterns import Pattern, smallest
from omgsr.evaluation.thread_copies import seeded, twin

# The choices behind the numbers of this line of papers (OSEDiff's test_metrics.py).
OPTIONS: dict[str, dict[str, Any]] = {
    "psnr": {"test_y_channel": True, "color_space": "ycbcr"},
    "ssim": {"test_y_channel": True, "color_space": "ycbcr"},
}
"""Arguments for PyIQA where its defaults are not what the field publishes."""
MIN_SIDE = {"niqe": 96, "niqe_matlab": 96, "ms_ssim": 161, "vif": 33, "liqe": 224, "liqe_mix": 224}
MIN_SIDE |= {"stlpips": 21, "stlpips-vgg": 18}
MIN_SIDE |= {name: smallest(one["metric_opts"]["period"]) for name, one in OWN.items()}
"""Smallest side in pixels that a metric is defined for: NIQE's block, halvings of the others."""
_OF_SETS = {"FID", "InceptionScore"}
_DRAWING = {"WaDIQaM"}
"""Architectures of PyIQA that draw random numbers when they score."""
_NIQE = ("basicsr", "metrics", "niqe_pris_params.npz")


class MetricError(ValueError):
    """A metric that cannot be had here; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What PyIQA declares of a metric."""

    name: str
    lower_better: bool
    """Direction: True for LPIPS or NIQE, False for PSNR."""
    full_reference: bool
    """Whether it compares with an HQ image."""
    whole_set: bool = False
    """Whether it is one value of a set of images, not a mean over them."""
    draws: bool = False
    """Whether it draws random crops, from the same seed for every image."""

    @property
    def arrow(self) -> str:
        """The direction as tables print it."""
        return "↓" if self.lower_better else "↑"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric that is loaded: images in [0, 1] => scores."""

    traits: Traits
    model: torch.nn.Module
    weights: tuple[WeightFile, ...] = ()
    """The files that it was made from."""
    _own: threading.local = field(default_factory=threading.local, repr=False, compare=False)
    """The model of each thread: PyIQA's networks keep what they compute on in themselves."""

    @property
    def name(self) -> str:
        """PyIQA's name."""
        return self.traits.name

    def __call__(self, sr: Tensor, hq: Tensor | None = None) -> Tensor:
        """Scores of a batch: (B, 3, H, W) in [0, 1], HQ of the same shape => (B,) float64, CPU."""
        given = (sr, hq) if self.traits.full_reference else (sr,)
        seeding = seeded if self.traits.draws else contextlib.nullcontext
        with torch.no_grad(), FastFilters(), seeding():
            scores = self._model()(*given)
        return torch.as_tensor(scores).detach().double().cpu().reshape(-1)

    def features(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What a metric of whole sets keeps of an image: uint8 (H, W, 3) => (D,)."""
        return fid.features(self._model().net.model, image)  # type: ignore[union-attr, arg-type]

    def _model(self) -> torch.nn.Module:
        if not hasattr(self._own, "model"):
            self._own.model = twin(self.model)
        model: torch.nn.Module = self._own.model
        return model


def traits(name: str) -> Traits:
    """Direction and mode of a metric; an unknown name is refused with its nearest ones."""
    table = metric_table()
    if name not in table:
        near = difflib.get_close_matches(name, table, n=3, cutoff=0.5) or ["psnr", "ssim", "niqe"]
        raise MetricError(f"unknown metric {name!r}; PyIQA knows {', '.join(near)} and others")
    entry = table[name]
    return Traits(
        name=name,
        lower_better=bool(entry.get("lower_better", False)),
        full_reference=entry["metric_mode"] == "FR",
        whole_set=entry["metric_opts"]["type"] in _OF_SETS,
        draws=entry["metric_opts"]["type"] in _DRAWING,
    )


def load(name: str, device: str = "cpu") -> Metric:
    """One metric, ready; raises MetricError naming the weight file that is missing."""
    found, architecture = traits(name), metric_table()[name]["metric_opts"]["type"]
    if found.whole_set and name != "fid":
        raise MetricError(f"{name}: compares whole sets of images; of those only fid is scored")
    if name in OWN:
        return Metric(traits=found, model=Pattern(OWN[name]["metric_opts"]["period"]))
    mirrored("")  # a folder that is none is an error, not a missing file
    weights: list[WeightFile] = []
    try:
        with _quiet(), offline(), published(architecture) as weights:
            # PyIQA takes seconds to import: only who scores pays for it.
            from pyiqa import create_metric

            # What a file does not hold would be drawn: the same in every run.
            random = torch.random.fork_rng(devices=[])
            with tempfile.TemporaryDirectory() as folder, random, torch.no_grad():
                torch.manual_seed(0)
                more, read = _parameters(name, Path(folder))
                model = create_metric(name, device=device, **OPTIONS.get(name, {}), **more)
            return Metric(traits=found, model=model, weights=(*read, *weights))
    except MissingFile as error:
        raise MetricError(
            f"{name}: unavailable, {error}; where there is a network, `python -c "
            f"\"import pyiqa; pyiqa.create_metric('{name}')\"` fetches it; or put it into the "
            f"folder that {MIRROR} names"
        ) from error
    except ImportError as error:
        raise MetricError(f"{name}: unavailable, PyIQA needs more for it: {error}") from error
    except (RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        files = ", ".join(one.file for one in weights) or "its weights"
        reason = str(error).strip().partition("\n")[0]
        raise MetricError(
            f"{name}: unavailable, PyIQA cannot read {files}: {reason}; fetch them anew"
        ) from error


def load_all(
    names: Iterable[str], device: str = "cpu", sets: bool = False
) -> tuple[tuple[Metric, ...], dict[str, str]]:
    """The metrics that can be had here, and for each of the others why not.

    Metrics of whole sets are among the others unless `sets`.
    """
    loaded: list[Metric] = []
    missing: dict[str, str] = {}
    for name in names:
        # An unknown name is an error, not a missing weight.
        if traits(name).whole_set and not sets:
            missing[name] = f"{name}: compares whole sets of images, which only `score` does"
            continue
        try:
            loaded.append(load(name, device))
        except MetricError as error:
            missing[name] = str(error)
    return tuple(loaded), missing


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """PyIQA prints which file it reads, and warns of what is not ours to change."""
    talk, quiet = io.StringIO(), warnings.catch_warnings(action="ignore")
    with contextlib.redirect_stdout(talk), contextlib.redirect_stderr(talk), quiet:
        yield


def _parameters(name: str, folder: Path) -> tuple[dict[str, Any], list[WeightFile]]:
    """NIQE's pristine model: PyIQA's from OMGSR_WEIGHTS, else the one of basicsr's wheel.

    The two differ by up to 0.03 a picture, so what happens to be in a cache does not choose.
    """
    if name != "niqe":
        return {}, []
    mirror = mirrored("niqe_modelparameters.mat")
    path = mirror or niqe_parameters(folder / "niqe.mat")
    return {"pretrained_model_path": str(path)}, [described(mirror or inside(*_NIQE))]


def niqe_parameters(path: Path) -> Path:
    """Writes basicsr's NIQE parameters to `path` (.mat), without importing basicsr."""
    stored = np.load(inside(*_NIQE))
    names = {"mu_prisparam": "mu_pris_param", "cov_prisparam": "cov_pris_param"}
    with atomic(path) as temporary:
        scipy.io.savemat(temporary, {mat: stored[npz] for mat, npz in names.items()})
    return path

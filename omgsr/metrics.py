"""PyIQA's metrics, made without any download; what they need and which way is better.

Mode and direction are PyIQA's own (`default_model_configs.py`), so no list of ours can disagree.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import torch
from torch import Tensor

from omgsr._offline import MissingFile, offline
from omgsr._pyiqa import metric_table
from omgsr.files import atomic

# The choices behind the numbers of this line of papers (OSEDiff's test_metrics.py).
OPTIONS: dict[str, dict[str, Any]] = {
    "psnr": {"test_y_channel": True, "color_space": "ycbcr"},
    "ssim": {"test_y_channel": True, "color_space": "ycbcr"},
}
"""Arguments for PyIQA where its defaults are not what the field publishes."""
MIN_SIDE = {"niqe": 96, "niqe_matlab": 96, "ms_ssim": 161, "vif": 33}
"""Smallest side in pixels that a metric is defined for: NIQE's block, MS-SSIM's five halvings."""
_OF_SETS = {"FID", "InceptionScore"}


class MetricError(ValueError):
    """A metric that cannot be had here; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What PyIQA declares of a metric."""

    name: str
    """PyIQA's name."""
    lower_better: bool
    """Direction: True for LPIPS or NIQE, False for PSNR."""
    full_reference: bool
    """Whether it compares with an HQ image."""

    @property
    def arrow(self) -> str:
        """The direction as tables print it."""
        return "↓" if self.lower_better else "↑"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric that is loaded: images in [0, 1] => scores."""

    traits: Traits
    model: torch.nn.Module

    @property
    def name(self) -> str:
        """PyIQA's name."""
        return self.traits.name

    def __call__(self, sr: Tensor, hq: Tensor | None = None) -> Tensor:
        """Scores of a batch: (B, 3, H, W) in [0, 1], HQ of the same shape => (B,) float64, CPU."""
        given = (sr, hq) if self.traits.full_reference else (sr,)
        return torch.as_tensor(self.model(*given)).detach().double().cpu().reshape(-1)


def known_metrics() -> frozenset[str]:
    """Names that PyIQA knows, without importing it."""
    return frozenset(metric_table())


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
    )


def load(name: str, device: str = "cpu") -> Metric:
    """One metric, ready; raises MetricError naming the weight file that is missing."""
    found = traits(name)
    if metric_table()[name]["metric_opts"]["type"] in _OF_SETS:
        raise MetricError(f"{name}: compares whole sets of images, which is not scored yet")
    # PyIQA takes seconds to import: only who scores pays for it.
    from pyiqa import create_metric

    talk = io.StringIO()  # PyIQA prints which file it reads
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            contextlib.redirect_stdout(talk),
            contextlib.redirect_stderr(talk),
            warnings.catch_warnings(action="ignore"),
        ):
            options = OPTIONS.get(name, {}) | _parameters(name, Path(folder))
            with offline():
                return Metric(traits=found, model=create_metric(name, device=device, **options))
    except MissingFile as error:
        raise MetricError(
            f"{name}: unavailable, {error}; where there is a network, `python -c "
            f"\"import pyiqa; pyiqa.create_metric('{name}')\"` fetches it"
        ) from error
    except ImportError as error:
        raise MetricError(f"{name}: unavailable, PyIQA needs more for it: {error}") from error


def load_all(
    names: Iterable[str], device: str = "cpu"
) -> tuple[tuple[Metric, ...], dict[str, str]]:
    """The metrics that can be had here, and for each of the others why not."""
    loaded: list[Metric] = []
    missing: dict[str, str] = {}
    for name in names:
        traits(name)  # an unknown name is an error, not a missing weight
        try:
            loaded.append(load(name, device))
        except MetricError as error:
            missing[name] = str(error)
    return tuple(loaded), missing


def contract(loaded: Iterable[Metric], device: str, crop_border: int) -> dict[str, Any]:
    """How the numbers were made, for the JSON beside them."""
    return {
        "pyiqa": version("pyiqa"),
        "torch": torch.__version__,
        "device": device,
        "crop_border": crop_border,
        "metrics": {m.name: asdict(m.traits) | {"options": _described(m.name)} for m in loaded},
    }


def _described(name: str) -> dict[str, Any]:
    parameters = {"parameters": "basicsr niqe_pris_params.npz"} if name == "niqe" else {}
    return OPTIONS.get(name, {}) | parameters


def _parameters(name: str, folder: Path) -> dict[str, Any]:
    """NIQE's pristine model, which basicsr's wheel carries, as the .mat that PyIQA reads."""
    if name != "niqe":
        return {}
    return {"pretrained_model_path": str(niqe_parameters(folder / "niqe.mat"))}


def niqe_parameters(path: Path) -> Path:
    """Writes basicsr's NIQE parameters to `path` (.mat), without importing basicsr."""
    package = find_spec("basicsr")
    if package is None or package.origin is None:
        raise ImportError("niqe needs the file that basicsr carries; run `make install`")
    stored = np.load(Path(package.origin).parent / "metrics" / "niqe_pris_params.npz")
    names = {"mu_prisparam": "mu_pris_param", "cov_prisparam": "cov_pris_param"}
    with atomic(path) as temporary:
        scipy.io.savemat(temporary, {mat: stored[npz] for mat, npz in names.items()})
    return path

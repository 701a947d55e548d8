"""How scores were made: for every metric its version, weights, colours, sizes, seed and device."""

from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from omgsr.evaluation.metric_table import metric_table
from omgsr.evaluation.metrics import OPTIONS, Metric
from omgsr.evaluation.thread_copies import SEED

WHOLE = "none: the whole image in its own size"
INPUT = {
    "FID": "299 x 299, Pillow's bicubic on unrounded channels (clean mode), border kept",
    "NIMA": "shorter side 299, bilinear; then its centre of 299 x 299",
    "MUSIQ": "the whole image, and longer sides of 384 and 224, in patches of 32",
    "MANIQA": "20 crops of 224 on a grid; smaller images enlarged to 225, bilinear",
    "LIQE": "15 crops of 224 on a grid of step 32",
    "NIQE": "blocks of 96 in two scales; what is over at the right and the bottom is left out",
}
"""What a network is shown, by PyIQA's architecture; the others see the whole image."""


def contract(loaded: Iterable[Metric], device: str, crop_border: int) -> dict[str, Any]:
    """How the numbers were made, for the JSON beside them."""
    return {
        "pyiqa": version("pyiqa"),
        "torch": torch.__version__,
        "device": device,
        "tf32_convolutions": device != "cpu" and _ampere(),
        "images_at_once": 1,
        "crop_border": crop_border,
        "pairing": "by name; a name without a partner is an error",
        "mean": "over the images of a benchmark that have a score",
        "metrics": {m.name: _told(m, device, crop_border) for m in loaded},
    }


def _told(metric: Metric, device: str, crop_border: int) -> dict[str, Any]:
    traits, entry = metric.traits, metric_table()[metric.name]
    options = dict(entry["metric_opts"]) | OPTIONS.get(metric.name, {})
    architecture = options.pop("type")
    return {
        "name": metric.name,
        "architecture": architecture,
        "pyiqa": version("pyiqa"),
        "better": "lower" if traits.lower_better else "higher",
        "full_reference": traits.full_reference,
        "whole_set": traits.whole_set,
        "options": options,
        "colour": _colour(metric, options),
        "crop": 0 if traits.whole_set else crop_border,
        "resize": INPUT.get(architecture, WHOLE),
        "seed": SEED if traits.draws else None,
        "device": device,
        "weights": [asdict(one) for one in metric.weights],
    }


def _colour(metric: Metric, options: dict[str, Any]) -> dict[str, Any]:
    """Whether only Y is compared, and of which space: ours, PyIQA's table, or its own default."""
    net = getattr(metric.model, "net", None)
    y = options.get("test_y_channel", getattr(net, "test_y_channel", False))
    space = options.get("color_space", getattr(net, "color_space", None)) if y else "rgb"
    return {"space": space, "test_y_channel": bool(y)}


def _ampere() -> bool:
    """PyIQA lets cuDNN use TF32, which these GPUs and newer ones have."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8

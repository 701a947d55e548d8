"""Perceptual losses by PyIQA: LPIPS (Table 4) and what stands in for it, ST-LPIPS and SSIM."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from omgsr.evaluation import metrics
from omgsr.method.losses import Perceptual

NETWORKS = {"lpips": "lpips-vgg", "stlpips": "stlpips-vgg"}
"""Loss => the metric that has its network; the paper compares with LPIPS on VGG (Sec. 3.7.1)."""


def lpips(network: nn.Module) -> Perceptual:
    """LPIPS or ST-LPIPS of images in [-1, 1] by PyIQA's architecture, which is frozen; in fp32."""
    network.requires_grad_(False).eval()

    def distance(x_sr: Tensor, x_hq: Tensor) -> Tensor:
        with torch.autocast(x_sr.device.type, enabled=False):
            # `normalize` would take both images to be in [0, 1].
            found: Tensor = network(x_sr.float(), x_hq.float(), normalize=False)
        return found.flatten()

    return distance


def ssim(x_sr: Tensor, x_hq: Tensor) -> Tensor:
    """1 - SSIM of images in [-1, 1], of the three colours, in fp32: (B, 3, H, W) twice => (B,).

    It has no weights: another loss that compares structure. Sides of 11 pixels or more.
    """
    from pyiqa.archs import ssim_arch  # PyIQA takes seconds to import

    with torch.autocast(x_sr.device.type, enabled=False):
        return 1 - ssim_arch.ssim((x_sr.float() + 1) / 2, (x_hq.float() + 1) / 2)


def load(names: Iterable[str], device: torch.device) -> dict[str, Perceptual]:
    """Those of losses.PERCEPTUAL that are named here, their networks on `device`.

    Raises MetricError naming a network's file that is missing.
    """
    made: dict[str, Perceptual] = {}
    if "ssim" in (wanted := set(names)):
        made["ssim"] = ssim
    for name in sorted(wanted & set(NETWORKS)):
        model: Any = metrics.load(NETWORKS[name], str(device)).model
        made[name] = lpips(model.net)
    return made

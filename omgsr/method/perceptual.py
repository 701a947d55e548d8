"""Perceptual losses that a network or a window computes: LPIPS (Table 4) and SSIM, by PyIQA."""

from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor, nn

from omgsr.evaluation import metrics

NETWORK = "lpips-vgg"
"""The paper compares with the LPIPS on VGG (Sec. 3.7.1)."""


class Lpips(nn.Module):
    """LPIPS of images in [-1, 1], frozen: (B, 3, H, W) twice => (B,)."""

    def __init__(self, network: nn.Module) -> None:
        """`network`: PyIQA's LPIPS architecture."""
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def forward(self, x_sr: Tensor, x_hq: Tensor) -> Tensor:
        """The distance in fp32; `normalize` would take both images to be in [0, 1]."""
        with torch.autocast(x_sr.device.type, enabled=False):
            distance: Tensor = self.network(x_sr.float(), x_hq.float(), normalize=False)
        return distance.flatten()

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: the network is frozen."""
        return super().train(False)


class Ssim(nn.Module):
    """1 - SSIM of images in [-1, 1], of the three colours: (B, 3, H, W) twice => (B,).

    It has no weights: where those of LPIPS are absent it stands in for it, as another loss that
    compares structure. Sides of 11 pixels or more.
    """

    def forward(self, x_sr: Tensor, x_hq: Tensor) -> Tensor:
        """The distance in fp32."""
        from pyiqa.archs.ssim_arch import ssim  # PyIQA takes seconds to import

        with torch.autocast(x_sr.device.type, enabled=False):
            return 1 - ssim((x_sr.float() + 1) / 2, (x_hq.float() + 1) / 2)


def load(names: Iterable[str], device: torch.device) -> dict[str, nn.Module]:
    """Those of the losses that need a network here: `lpips` and `ssim`.

    Raises MetricError naming the file of LPIPS that is missing.
    """
    made: dict[str, nn.Module] = {}
    if "ssim" in (wanted := set(names)):
        made["ssim"] = Ssim()
    if "lpips" in wanted:
        model: Any = metrics.load(NETWORK, str(device)).model
        made["lpips"] = Lpips(model.net)
    return made

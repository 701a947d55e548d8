"""LPIPS as a training loss (Table 4), by PyIQA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from omgsr import metrics

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

    def train(self, mode: bool = True) -> Lpips:
        """Stays in evaluation mode: the network is frozen."""
        return super().train(False)


def load(device: torch.device) -> Lpips:
    """The network with PyIQA's weights; raises MetricError naming the file that is missing."""
    model: Any = metrics.load(NETWORK, str(device)).model
    return Lpips(model.net)

"""The released code's heads: a low-pass filter and a stride before every convolution (Fig. 3).

Known of them are the filter (4 taps, stride 2, zeros around), strided convolutions, one logit a
level of images of 384 to 1024 px, failure on smaller ones, and 4,729,443 weights on ConvNeXt-L.
Kernels and widths here are a choice that gives all of it; other choices do too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omgsr.method.settings import OFFICIAL_SIDE

LAYERS = ((192, 4, 0), (64, 3, 0), (96, 1, 0), (96, 3, 1), (1, 1, 0))
"""Output channels, kernel and zeros around of every convolution."""


class Blur(nn.Module):
    """BlurPool (Zhang, 2019): [1, 3, 3, 1] / 8 both ways, at every other position."""

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("window", torch.outer(taps, taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) => (B, C, ceil(h/2), ceil(w/2)); zeros around: one before, two after."""
        window = self.window.to(x.dtype).expand(x.shape[1], 1, 4, 4)
        return F.conv2d(F.pad(x, (1, 2, 1, 2)), window, stride=2, groups=x.shape[1])


def head(channels: int) -> nn.Sequential:
    """The head of a level: (B, C, h, w) => (B, 1, 1, 1) for levels of 384 to 1024 px."""
    layers: list[nn.Module] = []
    for width, kernel, zeros in LAYERS:
        layers += [Blur(), nn.Conv2d(channels, width, kernel, stride=2, padding=zeros)]
        layers += [nn.LeakyReLU(0.2)]
        channels = width
    return nn.Sequential(*layers[:-1])


def require_size(height: int, width: int) -> None:
    """Refuses images that the filters and strides leave nothing of."""
    if min(height, width) < OFFICIAL_SIDE:
        raise ValueError(
            f"train.heads: official takes images of {OFFICIAL_SIDE} px or more, got {height} x "
            f"{width}; set train.heads to map, or data.crop and train.crop to that or more"
        )

"""PyIQA's filters in double precision, twenty times as fast on a CPU.

SSIM and NIQE filter images in float64. torch has no fast convolution for it on a CPU: it copies
every window, 121 values a pixel for SSIM. OpenCV filters the image itself. The two differ by the
order of their sums, 1e-15 of a value, which no printed digit of a score shows.
"""

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class FastFilters(TorchFunctionMode):
    """While it holds, in this thread: conv2d of single channels in float64 is OpenCV's."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Any other call is torch's own."""
        kwargs = kwargs or {}
        if func is F.conv2d and _filters(*args, **kwargs):
            return _filter(args[0], args[1])
        return func(*args, **kwargs)


def _filters(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> bool:  # fmt: skip
    """Whether a call is one kernel a channel over whole images, in float64 on the CPU."""
    plain = ((stride, 1), (dilation, 1), (padding, 0))
    return (
        x.dtype == torch.float64
        and not x.is_cuda
        and not torch.is_grad_enabled()
        and bias is None
        and x.ndim == 4
        and x.shape[1] == weight.shape[0] == groups
        and all(one in (value, (value, value), [value]) for one, value in plain)
        and min(a - b for a, b in zip(x.shape[2:], weight.shape[2:], strict=True)) >= 0
    )


def _filter(x: Tensor, weight: Tensor) -> Tensor:
    """(B, C, H, W) by (C, 1, h, w) => (B, C, H - h + 1, W - w + 1)."""
    h, w = weight.shape[2:]
    out = np.empty((*x.shape[:2], x.shape[2] - h + 1, x.shape[3] - w + 1))
    for image, target in zip(x.detach().numpy(), out, strict=True):
        for channel, kernel in enumerate(weight.detach().numpy()[:, 0]):
            whole = cv2.filter2D(np.ascontiguousarray(image[channel]), cv2.CV_64F, kernel)
            target[channel] = whole[h // 2 :, w // 2 :][: target.shape[1], : target.shape[2]]
    return torch.from_numpy(out)

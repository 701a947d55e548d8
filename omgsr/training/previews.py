"""Preview sheets of a training run: LQ, restored and HQ side by side."""

import numpy as np
import torch
from numpy.typing import NDArray

from omgsr.core import images
from omgsr.data.datasets import Pairs
from omgsr.method.generator import Generator


def fixed(pairs: Pairs, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The same `count` pairs at every call, spread over the set: (N, 3, H, W) twice."""
    rows = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).astype(int)
    found = [pairs[i, int(row)] for i, row in enumerate(rows)]
    return torch.stack([pair.x_lq for pair in found]), torch.stack([pair.x_hq for pair in found])


@torch.inference_mode()
def sheet(generator: Generator, x_lq: torch.Tensor, x_hq: torch.Tensor) -> NDArray[np.uint8]:
    """One row a pair, columns LQ, restored, HQ: uint8 (N H, 3 W, 3)."""
    device = generator.backbone.shift.device
    x_sr, _ = generator(x_lq.to(device), torch.Generator(device).manual_seed(0))
    rows = [torch.cat(row, dim=2) for row in zip(x_lq, x_sr.cpu(), x_hq, strict=True)]
    return images.to_array(torch.cat(rows, dim=1))

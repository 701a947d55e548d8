"""FID in its clean mode, from images: what PyIQA computes from folders.

Images need no file of their own (the HQ of a pair may be a crop of a photograph), each of them
alone decides its features, and the distance takes milliseconds where PyIQA's takes a minute.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

SIDE = 299
"""Side that Inception sees, pixels."""
LEAST = 2
"""Images of a set at least: one has no covariance."""


def features(inception: nn.Module, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Inception's pooled features: uint8 (H, W, 3) => (2048,)."""
    x = torch.from_numpy(resized(image)).permute(2, 0, 1)[None]
    x = ((x - 128) / 128).to(next(inception.parameters()).device)
    with torch.no_grad():
        pooled = inception(x, False, False)[0]
    found: NDArray[np.float32] = pooled.flatten().float().cpu().numpy()
    return found


def resized(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (H, W, 3) => float32 (299, 299, 3) in [0, 255]: Pillow's bicubic, never rounded."""
    planes = [
        np.asarray(Image.fromarray(plane).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for plane in image.astype(np.float32).transpose(2, 0, 1)
    ]
    return np.stack(planes, axis=2).clip(0, 255)


def distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """|m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^1/2) of features (N, D) and (M, D).

    With C = A'A for centred features A, the trace of the root is the sum of the singular values
    of A1 A2': exact where the sets are smaller than D, which makes both covariances singular.
    """
    (m1, a1), (m2, a2) = _centred(first), _centred(second)
    root = np.linalg.svd(_square(a1) @ _square(a2).T, compute_uv=False).sum()
    return float(((m1 - m2) ** 2).sum() + (a1**2).sum() + (a2**2).sum() - 2 * root)


def _centred(found: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean (D,) and A (N, D) of which A'A is the covariance."""
    if len(found) < LEAST:
        raise ValueError(f"FID compares sets of {LEAST} images or more, got {len(found)}")
    wide = found.astype(np.float64)
    mean = wide.mean(axis=0)
    return mean, (wide - mean) / np.sqrt(len(wide) - 1)


def _square(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same covariance's root of D rows at most: A'A = R'R."""
    return np.linalg.qr(a).R if len(a) > a.shape[1] else a

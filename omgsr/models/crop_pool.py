"""Random crops of a set of images, to train the small networks on."""

import cv2
import numpy as np
import torch
from torch import Tensor

_SCALES = (1.0, 0.7, 0.5, 0.35)


class CropPool:
    """Random augmented crops of a set of images, at four scales, held in memory.

    Colour augmentation (channel order, gamma a channel, gain) matters here: a dozen photographs
    hold few colours, and an autoencoder that never saw a hue cannot give it back.
    """

    def __init__(self, images: list[np.ndarray], size: int) -> None:
        """`images`: uint8 (H, W, 3); those with a side under `size` pixels are refused."""
        if not images or min(min(i.shape[:2]) for i in images) < size:
            raise ValueError(f"foundation images need both sides >= {size} px; add larger images")
        self.size = size
        self.pyramids = [_pyramid(image, size) for image in images]
        areas = np.array([image.shape[0] * image.shape[1] for image in images], float)
        self.weights = np.sqrt(areas) / np.sqrt(areas).sum()

    def batch(self, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Crops (count, 3, size, size) in [-1, 1] and the index of each one's image (count,)."""
        which = rng.choice(len(self.pyramids), size=count, p=self.weights)
        crops = np.stack([self._crop(rng, self.pyramids[i]) for i in which])
        x = torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()
        return x * 2 - 1, torch.from_numpy(which)

    def _crop(self, rng: np.random.Generator, pyramid: list[np.ndarray]) -> np.ndarray:
        image = pyramid[rng.integers(len(pyramid))]
        top = rng.integers(image.shape[0] - self.size + 1)
        left = rng.integers(image.shape[1] - self.size + 1)
        crop = image[top : top + self.size, left : left + self.size].astype(np.float32) / 255
        crop = np.rot90(crop, int(rng.integers(4)))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        return _recolour(rng, crop) if rng.random() < 0.7 else crop


def _pyramid(image: np.ndarray, size: int) -> list[np.ndarray]:
    sizes = [(round(image.shape[1] * s), round(image.shape[0] * s)) for s in _SCALES]
    fitting = [wh for wh in sizes if min(wh) >= size]
    return [cv2.resize(image, wh, interpolation=cv2.INTER_AREA) for wh in fitting]


def _recolour(rng: np.random.Generator, crop: np.ndarray) -> np.ndarray:
    """Channels permuted, inverted now and then, a gamma for each, one gain; [0, 1] => [0, 1]."""
    crop = crop[..., rng.permutation(3)]
    if rng.random() < 0.15:
        crop = 1 - crop
    crop = crop ** np.exp(rng.normal(0, 0.3, 3)).astype(np.float32)
    return np.clip(crop * rng.uniform(0.7, 1.2), 0, 1).astype(np.float32)

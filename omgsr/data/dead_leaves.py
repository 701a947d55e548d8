"""Dead-leaves images: occluding shapes with the scale statistics of natural images.

Lee, Mumford and Huang (2001): radii with density ~ r^-3 make edges and contrasts at every scale.
Leaves here also carry texture and a shading gradient, so that a model trained on them meets more
than flat regions.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw

_OVERSAMPLING = 2  # leaves are drawn at twice the size and averaged, which anti-aliases their edges


def dead_leaves(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A dead-leaves image, uint8 RGB of shape (height, width, 3); equal rng, equal bytes."""
    h, w = height * _OVERSAMPLING, width * _OVERSAMPLING
    leaves = _leaf_map(rng, h, w)
    count = int(leaves.max()) + 1
    shade = _shading(rng, leaves, count)
    image = _palette(rng, count)[leaves] * (1 + shade[..., None]) + _texture(rng, leaves, count)
    image = cv2.resize(image.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.3:  # a lens out of focus
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def _leaf_map(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Index of the topmost leaf at every pixel, int (height, width)."""
    canvas = Image.new("I", (width, height), 0)
    draw = ImageDraw.Draw(canvas)
    smallest, largest = 3.0, 0.35 * min(height, width)
    count = int(rng.integers(150, 900))
    # Inverse of the cumulative distribution of p(r) ~ r^-3 on [smallest, largest].
    u = rng.random(count)
    radii = (smallest**-2 - u * (smallest**-2 - largest**-2)) ** -0.5
    radii[: count // 8] = rng.uniform(0.4, 1.0, count // 8) * largest  # covers the background
    for index, radius in enumerate(radii, start=1):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        draw.polygon(_outline(rng, radius, x, y), fill=index)
    return np.asarray(canvas)


def _outline(
    rng: np.random.Generator, radius: float, x: float, y: float
) -> list[tuple[float, float]]:
    """Of a polygon with 3 to 7 corners, a rotated ellipse or a thin bar around (x, y)."""
    kind = rng.integers(4)
    corners = int(rng.integers(3, 8)) if kind < 2 else (24 if kind == 2 else 4)
    angles = np.arange(corners) * 2 * np.pi / corners
    if kind == 0:
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    aspect = rng.uniform(0.1, 0.3) if kind == 3 else rng.uniform(0.5, 1.0)
    px, py = radius * np.cos(angles), radius * aspect * np.sin(angles)
    turn = rng.uniform(0, np.pi)
    xs = x + px * np.cos(turn) - py * np.sin(turn)
    ys = y + px * np.sin(turn) + py * np.cos(turn)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _palette(rng: np.random.Generator, count: int) -> np.ndarray:
    """Leaf colours (count, 3) in [0, 1]: a few hues of one scene, or colours of every kind."""
    if rng.random() < 0.35:
        return rng.random((count, 3))
    centres = rng.random((int(rng.integers(2, 6)), 3))
    spread = rng.uniform(0.03, 0.15)
    chosen = centres[rng.integers(len(centres), size=count)]
    light = rng.normal(0, 0.18, (count, 1))
    return np.clip(chosen + light + rng.normal(0, spread, (count, 3)), 0, 1)


def _shading(rng: np.random.Generator, leaves: np.ndarray, count: int) -> np.ndarray:
    """A linear light gradient a leaf, relative to its colour; (h, w) about 0."""
    h, w = leaves.shape
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    slope = rng.normal(0, 0.25, (2, count))
    return slope[0][leaves] * x + slope[1][leaves] * y


def _texture(rng: np.random.Generator, leaves: np.ndarray, count: int) -> np.ndarray:
    """Texture added to the leaves: coloured noise or a grating, (h, w, 1), zero mean."""
    h, w = leaves.shape
    fields = [_coloured_noise(rng, h, w, exponent) for exponent in (0.5, 1.0, 1.6)]
    fields += [_grating(rng, h, w) for _ in range(3)]
    kind = rng.integers(len(fields), size=count)[leaves]
    amplitude = (rng.exponential(0.05, count) * (rng.random(count) < 0.7))[leaves]
    return (np.choose(kind, fields) * amplitude)[..., None]


def _coloured_noise(rng: np.random.Generator, h: int, w: int, exponent: float) -> np.ndarray:
    """Gaussian noise with amplitude spectrum 1/f^exponent, unit variance, (h, w)."""
    frequency = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(h, w))) / frequency**exponent, (h, w))
    return noise / noise.std()


def _grating(rng: np.random.Generator, h: int, w: int) -> np.ndarray:
    """A sine grating of 4 to 24 oversampled pixels a period, unit variance, (h, w)."""
    y, x = np.mgrid[0:h, 0:w]
    angle, period = rng.uniform(0, np.pi), rng.uniform(4, 24)
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period)
    return wave * np.sqrt(2)

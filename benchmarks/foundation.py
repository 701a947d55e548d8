"""How well a small foundation knows photographs that it never saw: Kodak's 24, centres of 256 px.

  python -m benchmarks.foundation foundation              that of the last `dvc repro`
  python -m benchmarks.foundation foundation other/foundation   two side by side

Of each: PSNR of the VAE's reconstructions (RGB, dB), and by timestep the part of the noise in z_t
that the denoiser leaves in its estimate of z_H, ||z0 - z_H||^2 / ||z_t / s - z_H||^2 at signal s.
Means over the photographs with their 95 % intervals; noise is the same for all foundations, so that
differences are the foundations'. About two minutes each on two cores.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omgsr.core import images, seeding
from omgsr.data import photographs
from omgsr.evaluation import statistics
from omgsr.models.backbones import from_folder

SIDE = 256
TIMESTEPS = (50, 150, 250, 350, 500, 650, 800, 950)


def main() -> int:
    """Prints a table of each folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, help="what the stage `foundation` wrote")
    for folder in parser.parse_args().folders:
        print(f"{folder}")
        for name, values in measured(from_folder.load(folder)).items():
            one = statistics.interval(values)
            print(f"  {name:22} {one.mean:8.4f} [{one.low:.4f}, {one.high:.4f}]", flush=True)
    return 0


@torch.inference_mode()
def measured(backbone: Any) -> dict[str, list[float]]:
    """Name => a value of every photograph."""
    found: dict[str, list[float]] = {"reconstruction, dB": []}
    for index in range(1, 25):
        x = centre(images.read_rgb(photographs.locate(f"kodak_{index:02d}")))
        z = backbone.encode(x).float()
        error = (backbone.decode(z).clamp(-1, 1) - x).square().mean()
        found["reconstruction, dB"].append(float(10 * torch.log10(4 / error)))
        eps = torch.randn(z.shape, generator=seeding.torch_rng(0, "foundation", index))
        for t in TIMESTEPS:
            found.setdefault(f"noise left at {t:3d}", []).append(left(backbone, z, eps, t))
    return found


def left(backbone: Any, z: Tensor, eps: Tensor, t: int) -> float:
    """Error of the estimate of z_H from z_t over that of z_t itself."""
    z_t = backbone.schedule.add_noise(z, eps, t)
    clean = backbone.schedule.predict_clean(z_t, backbone.predict(z_t, t), t)
    signal, _ = backbone.schedule.coefficients(t)
    return float((clean - z).square().mean() / (z_t / signal - z).square().mean())


def centre(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 => (1, 3, SIDE, SIDE) in [-1, 1]."""
    top, left_ = ((side - SIDE) // 2 for side in image.shape[:2])
    cut = image[top : top + SIDE, left_ : left_ + SIDE]
    return torch.from_numpy(cut.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


if __name__ == "__main__":
    raise SystemExit(main())

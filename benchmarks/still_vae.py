"""What Qwen-Image's VAE costs in 2-D beside the 3-D one of diffusers, at its real size.

  python -m benchmarks.still_vae                      256 px on a CPU, about a minute
  python -m benchmarks.still_vae --size 1024 --device cuda

Weights are random: time does not depend on them. Both networks compute the same picture, which is
checked; encoder and decoder are timed in turn, the fastest of the repeats counts. The 2-D one has
the channels-last layout, as in restoration. On a CPU it is the time of this process.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage

from omgsr.models.backbones.still_vae import StillVAE

BAR = 0.4
"""Of the time of the 3-D one."""


def main() -> int:
    """Prints seconds of both; 1 above the bar or where they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    video = AutoencoderKLQwenImage().eval().requires_grad_(False)
    copy = AutoencoderKLQwenImage().eval().requires_grad_(False)
    copy.load_state_dict(video.state_dict())
    where = torch.device(given.device)
    still = StillVAE(copy).eval().to(where, memory_format=torch.channels_last)
    video.to(where)
    x = torch.rand(1, 3, given.size, given.size, device=where) * 2 - 1
    return compared(video, still, x, given.repeats)


@torch.inference_mode()
def compared(video: Any, still: Any, x: torch.Tensor, repeats: int) -> int:
    """Times both ways through, and prints how far they lie apart."""
    z = still.encode(x).latent_dist.mode()
    picture = still.decode(z).sample.clamp(-1, 1)
    gap = float((video.decode(z[:, :, None]).sample[:, :, 0] - picture).abs().max())
    gap = max(gap, float((video.encode(x[:, :, None]).latent_dist.mode()[:, :, 0] - z).abs().max()))
    seconds = {
        "3-D encoder": fastest(lambda: video.encode(x[:, :, None]), repeats, x.device),
        "2-D encoder": fastest(lambda: still.encode(x), repeats, x.device),
        "3-D decoder": fastest(lambda: video.decode(z[:, :, None]), repeats, x.device),
        "2-D decoder": fastest(lambda: still.decode(z), repeats, x.device),
    }
    for name, value in seconds.items():
        print(f"{name}: {value:.4f} s")
    share = (seconds["2-D encoder"] + seconds["2-D decoder"]) / (
        seconds["3-D encoder"] + seconds["3-D decoder"]
    )
    print(f"{x.shape[-1]} px on {x.device}: {share:.1%} of the time, largest difference {gap:.1e}")
    return int(share > BAR)


def fastest(work: Callable[[], Any], repeats: int, where: torch.device) -> float:
    """Seconds of the fastest of `repeats`, after one that counts for nothing."""
    found, clock = [], time.perf_counter if where.type == "cuda" else time.process_time
    for _ in range(repeats + 1):
        begun = clock()
        work()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        found.append(clock() - begun)
    return min(found[1:])


if __name__ == "__main__":
    raise SystemExit(main())

"""A foundation of the real diffusers and timm classes, small enough for 20 ms a training step.

Weights are random but fixed. The VAE halves the image, the UNet halves the latent: images are
multiples of 4 pixels. Random weights suffice wherever a test asks how the parts work together, and
not how good the pictures are.
"""

from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor

from omgsr.core import images
from omgsr.data.datasets import Batch
from omgsr.data.manifest import Row
from omgsr.method.generator import Generator
from omgsr.method.perceptual import ssim
from omgsr.method.settings import Arithmetic, Precision
from omgsr.models import features, foundation
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone
from omgsr.models.features import Features
from omgsr.models.settings import Features as FeaturesSection
from omgsr.models.settings import Foundation
from omgsr.training.settings import Settings
from omgsr.training.trainer import Trainer

WEIGHTS = {"lrr": 5.0, "gan": 0.5, "dv3cd": 5.0, "l1": 0.5}
CONVNEXT = {
    "architecture": "convnext_atto",
    "arguments": {"depths": [1, 1, 1, 1], "dims": [8, 12, 16, 8]},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


def scheduler(prediction: str = "epsilon") -> DDPMScheduler:
    """SD2.1's own noise schedule."""
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        prediction_type=prediction,
        clip_sample=False,
    )


def vae(levels: int = 2) -> AutoencoderKL:
    """(B, 3, H, W) => (B, 4, H/2, W/2), with a shift so that no test overlooks it.

    A level more halves the latent once more.
    """
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(8,) * levels,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=32,
        mid_block_add_attention=False,
        scaling_factor=1.7,
        shift_factor=0.1,
    )


def unet() -> UNet2DConditionModel:
    """Latents (B, 4, h, w) with h and w even."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 8),
        layers_per_block=1,
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
    )


def section(**changes: Any) -> Foundation:
    """Configuration of a shipped foundation."""
    values: dict[str, Any] = {
        "backbone": "sd", "source": "shipped", "path": None, "revision": None, "prompt": "",
        "features": FeaturesSection(name="convnext_atto", path=None), "training": None,
        "timestep_origin": 0,
    }  # fmt: skip
    return Foundation(**(values | changes))


def write_foundation(
    folder: Path, prediction: str = "epsilon", seed: int = 0, levels: int = 2
) -> Path:
    """A complete foundation folder; returns it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae(levels).save_pretrained(folder / "model" / "vae")
        unet().save_pretrained(folder / "model" / "unet")
        scheduler(prediction).save_pretrained(folder / "model" / "scheduler")
        save_file({"prompt": torch.randn(1, 3, 8)}, folder / "prompt.safetensors")
        arguments: Any = CONVNEXT["arguments"]
        convnext = timm.create_model("convnext_atto", num_classes=0, **arguments)
        features.save(convnext, folder / "features", CONVNEXT)
    foundation.write_card(folder, Path("model"), section())
    return folder


def backbone(folder: Path) -> Backbone:
    """The backbone of `write_foundation`."""
    return from_folder.load(folder)


def generator(
    folder: Path, t: int = 273, latent: str = "mode", seed: int = 0, trained: float = 0.0
) -> Generator:
    """With adapters; `trained` > 0 moves every adapter weight by that much noise."""
    made = Generator(from_folder.load(folder), t, latent)  # type: ignore[arg-type]
    made.add_adapters(encoder_rank=2, denoiser_rank=3, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.adapter_parameters():
            parameter.add_(trained * torch.randn(parameter.shape, generator=rng))
    return made


def feature_network(folder: Path) -> Features:
    """The frozen ConvNeXt of `write_foundation`."""
    return features.load(folder / "features")


def precision(every: Arithmetic, **changes: Arithmetic) -> Precision:
    """The same for every part but those of `changes`."""
    parts = dict.fromkeys(("vae", "denoiser", "features", "heads"), every)
    return Precision(**(parts | changes))


def settings(**changes: Any) -> Settings:
    """Four steps of batch 2 with all four losses of the paper."""
    values: dict[str, Any] = {
        "losses": WEIGHTS, "steps": 4, "batch": 2, "accumulate": 1, "lr": 1e-3,
        "lr_schedule": "constant", "weight_decay": 1e-4, "clip_grad": None, "real_label": 0.8,
        "seed": 0, "optimiser": "adamw", "ema": None, "precision": precision("fp32"),
        "gradient_checkpointing": False, "encoder_rank": 2, "unet_rank": 3, "latent": "mode",
        "clamp": False, "heads": "map", "diffaugment": "none", "spectral_norm": False,
        "head_gradient": "own", "crop": None, "validation": None, "final": "last",
        "checkpoint_every": 9, "log_every": 1, "gradient_norms_every": None, "preview_every": 1,
        "num_workers": 0,
    }  # fmt: skip
    return Settings(**(values | changes))


def trainer(
    folder: Path, latent: str = "mode", trained: float = 0.0, t: int = 273, **changes: Any
) -> Trainer:
    """A fresh trainer; `changes` are fields of Settings."""
    made, chosen = generator(folder, t, latent, trained=trained), settings(**changes)
    if chosen.losses.get("vsd"):
        made.add_regulariser(seed=0)
    looked_at = {"ssim": ssim} if chosen.losses.get("ssim") else {}
    return Trainer(made, feature_network(folder), chosen, perceptual=looked_at)


def batch(seed: int = 0, count: int = 2, side: int = 32) -> Batch:
    """`pair` as a training step takes it, with names."""
    return Batch(*pair(seed, count, side), [f"image{seed}_{i}" for i in range(count)])


def pair(seed: int = 0, batch: int = 2, side: int = 32) -> tuple[Tensor, Tensor]:
    """(x_lq, x_hq), smooth random images in [-1, 1]: (batch, 3, side, side) twice."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, side // 4, side // 4, generator=rng) * 2 - 1
    x_lq = torch.nn.functional.interpolate(coarse, scale_factor=4.0, mode="bilinear")
    x_hq = (x_lq + 0.3 * torch.randn(x_lq.shape, generator=rng)).clamp(-1, 1)
    return x_lq, x_hq


def write_pairs(
    folder: Path, count: int, side: int = 32, scale: int = 4, sizes: tuple[int, ...] = ()
) -> list[Row]:
    """`count` rows with LQ and HQ PNGs of random pixels; `sizes` gives sides of their own."""
    rows = []
    for i in range(count):
        hq_side = sizes[i] if sizes else side
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (hq_side // scale, hq_side // scale, 3), dtype=np.uint8)
        hq = images.upscale(coarse, scale).astype(np.int64) + rng.integers(
            -20, 21, (hq_side, hq_side, 3)
        )
        name = f"image{i}"
        images.write_png(folder / "lq" / f"{name}.png", coarse)
        images.write_png(folder / "hq" / f"{name}.png", np.clip(hq, 0, 255).astype(np.uint8))
        rows.append(
            Row(
                name=name,
                hq=str(folder / "hq" / f"{name}.png"),
                lq=str(folder / "lq" / f"{name}.png"),
            )
        )
    return rows

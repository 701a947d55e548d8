"""Miniatures of the hub's folders of flow-matching models, with text encoders of their classes.

Files, sub-folders, classes and whatever tells one model from another are those of the hub; what is
small are the networks. Weights are random but fixed. Images are multiples of 16 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    ZImageTransformer2DModel,
)
from torch import nn

from omgsr.core import files
from tests.helpers import tiny_encoders

SCHEDULERS: dict[str, dict[str, Any]] = {
    "flux1-dev": {
        "shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15,
        "base_image_seq_len": 256, "max_image_seq_len": 4096,
    },
    "sd35-medium": {"shift": 3.0},
    "sd35-large": {"shift": 3.0},
    "qwen-image": {
        "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9,
        "base_image_seq_len": 256, "max_image_seq_len": 8192, "shift_terminal": 0.02,
    },
    "z-image": {"shift": 3.0},
}  # fmt: skip
RESOLUTION: dict[str, int | None] = {
    "flux1-dev": 1024, "sd35-medium": None, "sd35-large": None, "qwen-image": 1328, "z-image": None,
}  # fmt: skip
"""That the schedule of a model is fixed at; None where it is the same at every size."""
KINDS = tuple(SCHEDULERS)
_SD3 = {"pooled": (1, 48), "sequence": (1, 333, 64)}
PROMPTS = {
    "flux1-dev": {"pooled": (1, 32), "sequence": (1, 512, 32)}, "sd35-medium": _SD3,
    "sd35-large": _SD3, "qwen-image": {"sequence": (1, 128, 32)},
    "z-image": {"sequence": (1, 19, 16)},
}  # fmt: skip
"""Shapes of the tensors of a prompt."""


def write_hub_folder(folder: Path, kind: str, seed: int = 0) -> Path:
    """The miniature of `kind` as `hf download --local-dir` leaves it, 1 to 5 MB; returns it."""
    write, transformer, vae = _MODELS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae().save_pretrained(folder / "vae")
        lively(transformer()).save_pretrained(folder / "transformer")
        write(folder)
    FlowMatchEulerDiscreteScheduler(**SCHEDULERS[kind]).save_pretrained(folder / "scheduler")
    files.write_json(folder / "model_index.json", {"_class_name": kind})
    return folder


def lively(network: nn.Module) -> nn.Module:
    """Fresh transformers end in zeros or in next to nothing, which would hide what is before."""
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any() or parameter.ndim == 1:
                parameter.add_(0.05 * torch.randn(parameter.shape))
    return network


def kl_vae(**changes: Any) -> AutoencoderKL:
    """FLUX's: 16 channels, no quant convolutions, (B, 3, H, W) => (B, 16, H/8, W/8)."""
    values: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4, "block_out_channels": (8, 8, 16, 16),
        "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 16, "sample_size": 1024,
        "use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 0.3611,
        "shift_factor": 0.1159,
    }  # fmt: skip
    return AutoencoderKL(**(values | changes))


def _flux() -> FluxTransformer2DModel:
    return FluxTransformer2DModel(
        patch_size=1, in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32,
        guidance_embeds=True, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip


def _flux_encoders(folder: Path) -> None:
    tiny_encoders.write_clip(folder, "text_encoder", 32)
    tiny_encoders.write_t5(folder, "text_encoder_2", 32)


def _sd3(dual: tuple[int, ...]) -> SD3Transformer2DModel:
    return SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=16, num_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=64, caption_projection_dim=32,
        pooled_projection_dim=48, pos_embed_max_size=24, qk_norm="rms_norm",
        dual_attention_layers=dual,
    )  # fmt: skip


def _sd3_vae() -> AutoencoderKL:
    return kl_vae(scaling_factor=1.5305, shift_factor=0.0609)


def _sd3_encoders(folder: Path) -> None:
    tiny_encoders.write_clip(folder, "text_encoder", 16, projected=True)
    tiny_encoders.write_clip(folder, "text_encoder_2", 32, projected=True)
    tiny_encoders.write_t5(folder, "text_encoder_3", 64)


def qwen_vae(**changes: Any) -> AutoencoderKLQwenImage:
    """Per channel statistics of the real one; (B, 3, 1, H, W) => (B, 16, 1, H/8, W/8)."""
    values: dict[str, Any] = {
        "base_dim": 8, "z_dim": 16, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1,
        "temperal_downsample": [False, True, True],
    }  # fmt: skip
    return AutoencoderKLQwenImage(**(values | changes))


def _qwen() -> QwenImageTransformer2DModel:
    return QwenImageTransformer2DModel(
        patch_size=2, in_channels=64, out_channels=16, num_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=32, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip


def _qwen_encoder(folder: Path) -> None:
    tiny_encoders.write_qwen_vl(folder, 32)


def _z() -> ZImageTransformer2DModel:
    return ZImageTransformer2DModel(
        dim=32, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[8, 4, 4], axes_lens=[256, 32, 32], in_channels=16,
    )  # fmt: skip


def _z_encoder(folder: Path) -> None:
    tiny_encoders.write_qwen3(folder, 16)


_MODELS: dict[str, tuple[Callable[[Path], None], Callable[[], Any], Callable[[], Any]]] = {
    "flux1-dev": (_flux_encoders, _flux, kl_vae),
    "sd35-medium": (_sd3_encoders, partial(_sd3, (0,)), _sd3_vae),
    "sd35-large": (_sd3_encoders, partial(_sd3, ()), _sd3_vae),
    "qwen-image": (_qwen_encoder, _qwen, qwen_vae),
    "z-image": (_z_encoder, _z, kl_vae),
}

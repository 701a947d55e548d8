"""Miniatures of the hub's folders of SD1.5, SD2.1-base and SD2.1-768, and of timm's.

Files, keys and configurations are those of the hub, written by diffusers 0.6 to 0.10: schedulers of
other classes, attention weights under their former names, a VAE without a latent scale, pad tokens
in special_tokens_map.json alone. What is small are the networks, of 4 levels like the real ones:
images are multiples of 64 pixels. Weights are random but fixed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import timm
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from omgsr.core import files

KINDS = ("sd15", "sd21-base", "sd21-768")
WIDTH = {"sd15": 768, "sd21-base": 1024, "sd21-768": 1024}
"""Of the text encoder, as in the real models: it tells SD1.5 from SD2.1."""
TOKENS = 77
_START, _END = "<|startoftext|>", "<|endoftext|>"

_BETAS = {
    "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "clip_sample": False, "num_train_timesteps": 1000, "set_alpha_to_one": False,
    "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None,
}  # fmt: skip
SCHEDULERS: dict[str, dict[str, Any]] = {
    "sd15": {"_class_name": "PNDMScheduler", "_diffusers_version": "0.6.0", **_BETAS},
    "sd21-base": {
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.10.0.dev0",
        "prediction_type": "epsilon", **_BETAS,
    },
    "sd21-768": {
        "_class_name": "DDIMScheduler", "_diffusers_version": "0.8.0",
        "prediction_type": "v_prediction", **_BETAS,
    },
}  # fmt: skip
_FORMER = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def write_hub_folder(folder: Path, kind: str, seed: int = 0) -> Path:
    """The miniature of `kind` as `hf download --local-dir` leaves it, 6 to 10 MB; returns it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _write_vae(folder / "vae", kind)
        _write_unet(folder / "unet", kind)
        write_tokenizer(folder / "tokenizer", kind)
        _write_text_encoder(folder / "text_encoder", kind)
    files.write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULERS[kind])
    files.write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.10.0.dev0",
        "scheduler": ["diffusers", SCHEDULERS[kind]["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })  # fmt: skip
    return folder


def write_convnext(folder: Path, name: str = "convnext_atto", seed: int = 0) -> Path:
    """config.json and model.safetensors of a timm model as on timm's hub; returns the folder.

    convnext_atto has 15 MB, convnext_tiny.dinov3_lvd1689m 110 MB.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        save_for_hf(timm.create_model(name), folder, safe_serialization=True)
    return folder


def _write_vae(folder: Path, kind: str) -> None:
    """8-fold reduction and 4 channels; the configuration of diffusers 0.6 has no scaling_factor."""
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=512 if kind == "sd15" else 768,
    )
    vae.save_pretrained(folder)
    _keep(folder / "config.json", (
        "_class_name", "act_fn", "block_out_channels", "down_block_types", "in_channels",
        "latent_channels", "layers_per_block", "norm_num_groups", "out_channels", "sample_size",
        "up_block_types",
    ))  # fmt: skip
    path = folder / "diffusion_pytorch_model.safetensors"
    _rename(path, {rf"(attentions\.0)\.{re.escape(k)}\.": rf"\1.{v}." for k, v in _FORMER.items()})


def _write_unet(folder: Path, kind: str) -> None:
    """SD1.5 projects by convolutions, with 8 heads a level; SD2.1 by linear layers, 5 to 20."""
    is_first = kind == "sd15"
    unet = UNet2DConditionModel(
        sample_size=96 if kind == "sd21-768" else 64,
        block_out_channels=(16, 16, 32, 32),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=WIDTH[kind],
        attention_head_dim=8 if is_first else [2, 4, 8, 8],
        use_linear_projection=not is_first,
    )
    unet.save_pretrained(folder)
    _keep(folder / "config.json", (
        "_class_name", "act_fn", "attention_head_dim", "block_out_channels", "center_input_sample",
        "cross_attention_dim", "down_block_types", "downsample_padding", "flip_sin_to_cos",
        "freq_shift", "in_channels", "layers_per_block", "mid_block_scale_factor", "norm_eps",
        "norm_num_groups", "out_channels", "sample_size", "up_block_types",
        *(() if is_first else ("dual_cross_attention", "only_cross_attention",
                               "use_linear_projection")),
    ))  # fmt: skip


def write_tokenizer(folder: Path, kind: str) -> None:
    """CLIP's 256 bytes, each within a word and at its end, and a few merges instead of 48,894."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())  # "!" is the first, as in CLIP's
    merges = [("t", "h"), ("th", "e</w>"), ("c", "a"), ("ca", "t</w>")]
    words = [*alphabet, *(f"{a}</w>" for a in alphabet), *(a + b for a, b in merges), _START, _END]
    tokenizer = CLIPTokenizer({word: i for i, word in enumerate(words)}, merges)
    folder.mkdir(parents=True)
    tokenizer.backend_tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END}
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS, "do_lower_case": True}
    tokens = {k: {"__type": "AddedToken", **_token(v)} for k, v in special.items()}
    files.write_json(folder / "tokenizer_config.json", {
        **about, **tokens, "add_prefix_space": False, "errors": "replace", "pad_token": _END,
        "special_tokens_map_file": "./special_tokens_map.json",
    })  # fmt: skip
    # SD2.1 pads with "!", number 0, and says so here alone.
    files.write_json(folder / "special_tokens_map.json", {
        **{k: _token(v) for k, v in special.items()}, "pad_token": _END if kind == "sd15" else "!",
    })  # fmt: skip


def _token(content: str) -> dict[str, Any]:
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    return {"content": content, **flags}


def _write_text_encoder(folder: Path, kind: str) -> None:
    """One layer of the real width; half precision on disk, as SD2.1's configuration says."""
    first = kind == "sd15"
    config = CLIPTextConfig(
        vocab_size=518, hidden_size=WIDTH[kind], intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=WIDTH[kind] // 64, max_position_embeddings=TOKENS,
        hidden_act="quick_gelu" if first else "gelu", bos_token_id=0, eos_token_id=2,
        pad_token_id=1,
    )  # fmt: skip
    CLIPTextModel(config).half().save_pretrained(folder)
    about = files.read_json(folder / "config.json")
    about |= {"torch_dtype": "float32" if first else "float16", "transformers_version": "4.26.0"}
    del about["dtype"]
    files.write_json(folder / "config.json", about)
    path = folder / "model.safetensors"
    _rename(path, {r"^(?!text_model\.)": "text_model."})
    state = load_file(path)
    state["text_model.embeddings.position_ids"] = torch.arange(TOKENS)[None]
    save_file(state, path, {"format": "pt"})


def _keep(path: Path, names: tuple[str, ...]) -> None:
    """Leaves of a configuration what diffusers of that time wrote."""
    config = files.read_json(path)
    config = {name: config[name] for name in names} | {"_diffusers_version": "0.10.0.dev0"}
    files.write_json(path, config)


def _rename(path: Path, patterns: dict[str, str]) -> None:
    """Gives the weights in a file other names."""
    state: dict[str, Tensor] = {}
    for key, value in load_file(path).items():
        for pattern, name in patterns.items():
            key = re.sub(pattern, name, key)
        state[key] = value
    save_file(state, path, {"format": "pt"})

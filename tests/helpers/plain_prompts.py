"""Prompts as the pipelines of diffusers embed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from diffusers import FluxPipeline, QwenImagePipeline, StableDiffusion3Pipeline, ZImagePipeline
from torch import Tensor


def embed(kind: str, folder: Path, text: str) -> dict[str, Tensor]:
    """The tensors of a family, CLIP in fp32 and larger encoders in bf16."""
    with torch.no_grad():
        made = {
            "flux1-dev": _flux, "sd35-medium": _sd3, "sd35-large": _sd3, "qwen-image": _qwen,
            "z-image": _z,
        }[kind]  # fmt: skip
        return made(folder, text)


def _part(folder: Path, name: str, kind: str, dtype: torch.dtype = torch.float32) -> Any:
    made: Any = getattr(transformers, kind)
    if "tokenizer" in name:
        return made.from_pretrained(folder / name)
    return made.from_pretrained(folder / name, dtype=dtype).eval()


def _flux(folder: Path, text: str) -> dict[str, Tensor]:
    pipeline = FluxPipeline(
        scheduler=None, vae=None, transformer=None,
        text_encoder=_part(folder, "text_encoder", "CLIPTextModel"),
        tokenizer=_part(folder, "tokenizer", "CLIPTokenizer"),
        text_encoder_2=_part(folder, "text_encoder_2", "T5EncoderModel", torch.bfloat16),
        tokenizer_2=_part(folder, "tokenizer_2", "T5TokenizerFast"),
    )  # fmt: skip
    sequence, pooled, _ = pipeline.encode_prompt(text, device=torch.device("cpu"))
    return {"pooled": pooled, "sequence": sequence}


def _sd3(folder: Path, text: str) -> dict[str, Tensor]:
    clip = "CLIPTextModelWithProjection"
    pipeline = StableDiffusion3Pipeline(
        scheduler=None, vae=None, transformer=None,
        text_encoder=_part(folder, "text_encoder", clip),
        tokenizer=_part(folder, "tokenizer", "CLIPTokenizer"),
        text_encoder_2=_part(folder, "text_encoder_2", clip),
        tokenizer_2=_part(folder, "tokenizer_2", "CLIPTokenizer"),
        text_encoder_3=_part(folder, "text_encoder_3", "T5EncoderModel", torch.bfloat16),
        tokenizer_3=_part(folder, "tokenizer_3", "T5TokenizerFast"),
    )  # fmt: skip
    sequence, _, pooled, _ = pipeline.encode_prompt(
        text, text, text, device=torch.device("cpu"), do_classifier_free_guidance=False
    )
    return {"pooled": pooled, "sequence": sequence}


def _qwen(folder: Path, text: str) -> dict[str, Tensor]:
    kind = "Qwen2_5_VLForConditionalGeneration"
    pipeline = QwenImagePipeline(
        scheduler=None, vae=None, transformer=None,
        text_encoder=_part(folder, "text_encoder", kind, torch.bfloat16),
        tokenizer=_part(folder, "tokenizer", "Qwen2Tokenizer"),
    )  # fmt: skip
    sequence, mask = pipeline.encode_prompt(text, device=torch.device("cpu"))
    assert mask is None
    return {"sequence": sequence}


def _z(folder: Path, text: str) -> dict[str, Tensor]:
    pipeline = ZImagePipeline(
        scheduler=None, vae=None, transformer=None,
        text_encoder=_part(folder, "text_encoder", "AutoModel", torch.bfloat16),
        tokenizer=_part(folder, "tokenizer", "AutoTokenizer"),
    )  # fmt: skip
    embedded, _ = pipeline.encode_prompt(
        text, device=torch.device("cpu"), do_classifier_free_guidance=False
    )
    return {"sequence": embedded[0][None]}

"""Text encoders of one layer and tokenizers of a few words, in the hub's sub-folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from omgsr.models.text_encoders import tokenizer_of
from tests.helpers import hub

_PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("▁", -2.0), ("▁the", -1.0),
           ("▁cat", -1.0)]  # fmt: skip

_LANGUAGE: dict[str, Any] = {
    "vocab_size": 260, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "bos_token_id": None, "eos_token_id": 256,
    "pad_token_id": 256, "tie_word_embeddings": False,
}  # fmt: skip


def write_clip(folder: Path, name: str, width: int, projected: bool = False) -> None:
    """CLIP of two layers; with a projection as in SD3."""
    config = CLIPTextConfig(
        vocab_size=518, hidden_size=width, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=hub.TOKENS, projection_dim=width,
        bos_token_id=516, eos_token_id=517, pad_token_id=517,
    )  # fmt: skip
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    kind(config).save_pretrained(folder / name)
    hub.write_tokenizer(folder / tokenizer_of(name), "sd15")


def write_t5(folder: Path, name: str, width: int) -> None:
    """T5's encoder of one layer."""
    config = T5Config(
        vocab_size=len(_PIECES), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        feed_forward_proj="gated-gelu", is_encoder_decoder=False, use_cache=False,
    )  # fmt: skip
    T5EncoderModel(config).save_pretrained(folder / name)
    T5TokenizerFast(vocab=_PIECES, extra_ids=0).save_pretrained(folder / tokenizer_of(name))


def write_qwen_vl(folder: Path, width: int) -> None:
    """Qwen2.5-VL of one layer, for pictures too, which no prompt has."""
    text: dict[str, Any] = {
        **_LANGUAGE, "hidden_size": width,
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16,
        "out_hidden_size": width, "patch_size": 14, "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=text, vision_config=vision)
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder / "text_encoder")
    _write_qwen_tokenizer(folder / "tokenizer")


def write_qwen3(folder: Path, width: int) -> None:
    """Qwen3 of two layers."""
    config = Qwen3Config(**{**_LANGUAGE, "num_hidden_layers": 2}, hidden_size=width, head_dim=8)
    Qwen3Model(config).save_pretrained(folder / "text_encoder")
    _write_qwen_tokenizer(folder / "tokenizer")


def _write_qwen_tokenizer(folder: Path) -> None:
    """Qwen's bytes and marks, without merges, and a chat template."""
    from tokenizers.pre_tokenizers import ByteLevel

    words = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"]
    tokenizer = Qwen2TokenizerFast(vocab={word: i for i, word in enumerate(words)}, merges=[])
    tokenizer.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=True)
    tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)

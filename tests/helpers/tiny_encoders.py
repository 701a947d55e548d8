"""Text encoders of one layer and tokenizers of a few words, in the hub's sub-folders."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from omgsr.models.text_encoders import tokenizer_of
from tests.helpers import hub

_PIECES = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -5.0), ("▁", -2.0), ("▁the", -1.0),
           ("▁cat", -1.0)]  # fmt: skip


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

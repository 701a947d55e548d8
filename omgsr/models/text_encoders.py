"""The text encoders of the families: each is loaded alone, asked for one prompt and freed.

transformers is imported inside, so that training and inference never load it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How a family embeds its one prompt."""

    names: tuple[str, ...]
    """Tensors of prompt.safetensors, each with a batch axis of 1."""
    encoders: tuple[str, ...]
    """Sub-folders of the text encoders; `tokenizer` stands for `text_encoder` in those beside."""
    compute: Callable[[Path, str], Tensors]
    """Model folder and prompt => the tensors."""
    optional: tuple[str, ...] = ()
    """Encoders that a model folder may lack."""

    def present(self, model: Path) -> list[str]:
        """The encoders of a model folder, without those that it lacks and may lack."""
        return [n for n in self.encoders if n not in self.optional or (model / n).is_dir()]


def tokenizer_of(encoder: str) -> str:
    """`text_encoder_2` => `tokenizer_2`."""
    return encoder.replace("text_encoder", "tokenizer")


@torch.inference_mode()
def clip(model: Path, text: str, encoder: str = "text_encoder", kind: str = "CLIPTextModel") -> Any:
    """What CLIP in fp32 gives for the padded prompt, with `hidden_states` of every layer."""
    import transformers

    tokenizer = transformers.CLIPTokenizer.from_pretrained(
        model / tokenizer_of(encoder), local_files_only=True
    )
    network = load(getattr(transformers, kind), model / encoder, torch.float32)
    tokens = padded(tokenizer, text, tokenizer.model_max_length)
    return network(tokens.input_ids, output_hidden_states=True)


@torch.inference_mode()
def t5(model: Path, text: str, encoder: str, length: int) -> Tensor:
    """Last hidden state of T5's encoder in bf16, padding included: (1, length, width)."""
    import transformers

    folder = model / tokenizer_of(encoder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = load(transformers.T5EncoderModel, model / encoder, torch.bfloat16)
    return network(padded(tokenizer, text, length).input_ids)[0]


@torch.inference_mode()
def language_model(model: Path, text: str, kind: str, layer: int, chat: bool = False) -> Tensor:
    """Hidden state of a layer of a language model in bf16, without padding: (1, tokens, width).

    With `chat` the text is what a user says, in the tokenizer's own template.
    """
    import transformers

    folder = model / "tokenizer"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = load(getattr(transformers, kind), model / "text_encoder", torch.bfloat16)
    if chat:
        said = [{"role": "user", "content": text}]
        text = str(
            tokenizer.apply_chat_template(
                said, tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
        )
    tokens = tokenizer(text, return_tensors="pt")
    return network(
        input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, output_hidden_states=True
    ).hidden_states[layer]


def load(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """A text encoder of transformers; a weight that is missing is never left random."""
    network, report = kind.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, dtype=dtype, output_loading_info=True
    )
    if report["missing_keys"]:
        raise ValueError(
            f"{folder}: its weights are not those of its config.json, which needs "
            f"{min(report['missing_keys'])}; get the folder again"
        )
    return network.eval()


def padded(tokenizer: Any, text: str, length: int) -> Any:
    """Tokens of a prompt, padded or cut to `length`: input_ids and attention_mask, (1, length)."""
    return tokenizer(
        text, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    )


def _last_hidden(model: Path, text: str) -> Tensors:
    return {"prompt": clip(model, text)[0].contiguous()}


CLIP = Embedding(names=("prompt",), encoders=("text_encoder",), compute=_last_hidden)
"""Last hidden state of one CLIP, (1, tokens, width): Stable Diffusion 1 and 2."""

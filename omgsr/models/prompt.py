"""The embedding of the one prompt, computed once by CLIP and kept with what it was made from.

prompt.safetensors    the embedding (1, tokens, width): all that training and inference read
prompt.json           the prompt and the sha256 of the tokenizer and text encoder
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.models import weight_files

EMBEDDING, ORIGIN = "prompt.safetensors", "prompt.json"
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json",
               "added_tokens.json", "tokenizer_config.json")  # fmt: skip


def write(model: Path, text: str, out: Path, cache: Path | None = None) -> None:
    """Puts the embedding of `text` into `out`, by the tokenizer and text encoder of `model`.

    With a `cache` folder the encoder is loaded only if neither it nor the text was seen before.
    Raises FileNotFoundError or ValueError naming the part of `model` that cannot be used.
    """
    made_from = {"prompt": text, "text_encoder": _sha256(model)}
    key = hashlib.sha256(repr(sorted(made_from.items())).encode()).hexdigest()[:16]
    kept = cache / key if cache else out
    if cache is None or not (kept / EMBEDDING).is_file():
        files.write_json(kept / ORIGIN, made_from)
        with files.atomic(kept / EMBEDDING) as temporary:
            save_file({"prompt": embed(model, text)}, temporary)
    if kept != out:
        for name in (ORIGIN, EMBEDDING):
            with files.atomic(out / name) as temporary:
                shutil.copyfile(kept / name, temporary)


@torch.inference_mode()
def embed(model: Path, text: str) -> torch.Tensor:
    """Last hidden state of the folder's CLIP text encoder in fp32: (1, tokens, width)."""
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer", local_files_only=True)
    loaded: Any = CLIPTextModel.from_pretrained(
        model / "text_encoder", local_files_only=True, use_safetensors=True, dtype=torch.float32,
        output_loading_info=True,
    )  # fmt: skip
    encoder, report = loaded
    if report["missing_keys"]:
        raise ValueError(
            f"{model / 'text_encoder'}: its weights are not those of its config.json, which needs "
            f"{min(report['missing_keys'])}; get the folder again"
        )
    tokens = tokenizer(
        text,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return encoder(tokens.input_ids)[0].contiguous()


def _sha256(model: Path) -> str:
    """One hash over the tokenizer and the text encoder of a model folder."""
    config, tokenizer = model / "text_encoder" / "config.json", model / "tokenizer"
    if not config.is_file():
        raise FileNotFoundError(f"{config} is missing")
    vocabulary = [tokenizer / name for name in _VOCABULARY if (tokenizer / name).is_file()]
    names = {path.name for path in vocabulary}
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        raise FileNotFoundError(f"{tokenizer}: vocab.json and merges.txt are missing")
    digest = hashlib.sha256()
    for path in [*vocabulary, config, *weight_files.find(model / "text_encoder", "model")]:
        digest.update(path.name.encode() + bytes.fromhex(sha256(path)))
    return digest.hexdigest()

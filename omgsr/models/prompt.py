"""The embedding of the one prompt, computed once by text encoders and kept with its origin.

prompt.safetensors    the family's tensors: all that training and inference read
prompt.json           the prompt and the sha256 of tokenizers and text encoders, or of a ready file
"""

import hashlib
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.models import weight_files
from omgsr.models.text_encoders import CLIP, Embedding, Tensors, tokenizer_of

EMBEDDING, ORIGIN = "prompt.safetensors", "prompt.json"
_VOCABULARY = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model",
               "special_tokens_map.json", "added_tokens.json", "tokenizer_config.json",
               "chat_template.jinja")  # fmt: skip
_WHOLE = ("tokenizer.json", "spiece.model")
"""Files that each hold a vocabulary; vocab.json needs its merges.txt."""


def write(
    model: Path, text: str, out: Path, cache: Path | None = None, embedding: Embedding = CLIP
) -> None:
    """Puts the embedding of `text` into `out`, by the tokenizers and text encoders of `model`.

    A folder without them may hold a ready prompt.safetensors in their place. With a `cache` folder
    the encoders are loaded only if neither they nor the text were seen before.
    Raises FileNotFoundError or ValueError naming the part of `model` that cannot be used.
    """
    if not (model / embedding.encoders[0]).is_dir() and (model / EMBEDDING).is_file():
        take(model / EMBEDDING, out, embedding)
        return
    made_from = {"prompt": text, "text_encoder": _sha256(model, embedding)}
    key = hashlib.sha256(repr(sorted(made_from.items())).encode()).hexdigest()[:16]
    kept = cache / key if cache else out
    if cache is None or not (kept / EMBEDDING).is_file():
        files.write_json(kept / ORIGIN, made_from)
        with files.atomic(kept / EMBEDDING) as temporary:
            save_file(embed(model, text, embedding), temporary)
    if kept != out:
        for name in (ORIGIN, EMBEDDING):
            _copy(kept / name, out / name)


def take(ready: Path, out: Path, embedding: Embedding = CLIP) -> None:
    """Puts a ready prompt.safetensors into `out`, once it is seen to be the family's.

    Raises FileNotFoundError or ValueError.
    """
    weight_files.check(ready)
    read(ready, embedding.names)
    files.write_json(out / ORIGIN, {"ready": sha256(ready)})
    _copy(ready, out / EMBEDDING)


def read(path: Path, names: tuple[str, ...]) -> Tensors:
    """The tensors of a prompt.safetensors in fp32, each (1, ...); else a ValueError says which."""
    found = load_file(path)
    if set(found) != set(names):
        raise ValueError(
            f"{path}: holds {', '.join(sorted(found))}; the prompt of this backbone is "
            f"{', '.join(names)}: embed it with this model's own text encoders"
        )
    for name, tensor in found.items():
        if tensor.ndim < 2 or len(tensor) != 1:
            raise ValueError(
                f"{path}: {name} is {tuple(tensor.shape)}, needed is (1, ...): one prompt"
            )
    return {name: found[name].float() for name in names}


def embed(model: Path, text: str, embedding: Embedding = CLIP) -> dict[str, Tensor]:
    """The family's tensors for `text`, by the encoders in a model folder, one after the other."""
    made = embedding.compute(model, text)
    return {name: made[name].contiguous() for name in embedding.names}


def _copy(source: Path, path: Path) -> None:
    with files.atomic(path) as temporary:
        shutil.copyfile(source, temporary)


def _sha256(model: Path, embedding: Embedding) -> str:
    """One hash over the tokenizers and the text encoders of a model folder."""
    digest = hashlib.sha256()
    for encoder in embedding.present(model):
        config, tokenizer = model / encoder / "config.json", model / tokenizer_of(encoder)
        if not config.is_file():
            raise FileNotFoundError(f"{config} is missing, and so is a ready {EMBEDDING}")
        vocabulary = [tokenizer / name for name in _VOCABULARY if (tokenizer / name).is_file()]
        names = {path.name for path in vocabulary}
        if not names & set(_WHOLE) and not {"vocab.json", "merges.txt"} <= names:
            raise FileNotFoundError(f"{tokenizer}: vocab.json and merges.txt are missing")
        for path in [*vocabulary, config, *weight_files.find(model / encoder, "model")]:
            digest.update(path.name.encode() + bytes.fromhex(sha256(path)))
    return digest.hexdigest()

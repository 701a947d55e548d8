"""The published pickles of OSEDiff and PiSA-SR as PEFT folders, read once and safely.

The folder that is made:

<part>/adapter_config.json, adapter_model.safetensors    a PEFT adapter
base.safetensors                                         layers trained as a whole, of OSEDiff
method.json                                              what it is, written last
"""

import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from omgsr.baselines.published_layouts import ALPHA, LAYOUTS, Layout, Part
from omgsr.core import files, safe_pickle
from omgsr.core.fingerprint import sha256
from omgsr.core.settings import section
from omgsr.method import adapter_files

CARD, BASE = "method.json", "base.safetensors"
_LORA = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])\.(?P<adapter>\w+)\.weight")
_WHOLE = re.compile(r"(?P<layer>conv_in)(\.base_layer)?\.(?P<kind>weight|bias)")


class ConversionError(ValueError):
    """A published file that is not what it should be; the message names it and says why."""


@section
class Card:
    """What a converted folder is: all that loading it needs to know."""

    method: str
    """osediff or pisasr."""
    t: int
    """Index into the scheduler's alphas_cumprod, from 0."""
    ranks: dict[str, int]
    """LoRA rank of every adapter folder."""
    alpha: int
    """LoRA alpha of all of them."""
    source: dict[str, str]
    """Name and sha256 of the published file."""
    weights: dict[str, str]
    """sha256 of every safetensors file in the folder."""


def convert(path: Path | str, out: Path | str) -> Card:
    """Writes the folder `out` from a published .pkl; it is complete or absent.

    Raises FileNotFoundError for a missing file, UnsafeFile for one that would run code, and
    ConversionError for one of another method or a folder that is not empty.
    """
    path, out = Path(path), Path(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConversionError(f"{out}: exists already; give another folder, or delete it first")
    held = safe_pickle.load(path)
    layout = _recognise(held, path)
    adapted, whole = _weights(held, layout, path)
    ranks = {part.folder: int(held[part.rank]) for part in layout.parts}
    folder = out.with_name(f".tmp-{out.name}")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name, state in adapted.items():
            _write_adapter(folder / name, state, ranks[name])
        if layout.whole:
            _write(folder / BASE, whole)
        names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.safetensors"))
        card = Card(
            method=layout.method,
            t=layout.t,
            ranks=ranks,
            alpha=ALPHA,
            source={"name": path.name, "sha256": sha256(path)},
            weights={name: sha256(folder / name) for name in names},
        )
        files.write_json(folder / CARD, asdict(card))
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return card


def _recognise(held: Any, path: Path) -> Layout:
    """The layout that has exactly the keys of the file."""
    keys = set(held) if isinstance(held, Mapping) else set()
    for layout in LAYOUTS:
        parts = layout.parts
        expected = {key for p in parts for key in (p.rank, p.state, *p.modules)}
        if parts[0].rank not in keys:
            continue
        for odd, text in ((expected - keys, "lacks"), (keys - expected, "also holds")):
            if odd:
                raise ConversionError(
                    f"{path}: looks like {layout.method}, but {text} {', '.join(sorted(odd))}; "
                    "is it a file of a method derived from it?"
                )
        return layout
    found = ", ".join(sorted(map(str, keys))[:4]) or type(held).__name__
    raise ConversionError(
        f"{path}: neither OSEDiff's nor PiSA-SR's file (it holds {found}); "
        "README, Other methods, says where they are"
    )


def _weights(
    held: Mapping[str, Any], layout: Layout, path: Path
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Every adapter's matrices by its folder, under PEFT's names, and the layers that are none."""
    parts = {(part.state, name): part for part in layout.parts for name in part.names}
    adapted: dict[str, dict[str, Tensor]] = {part.folder: {} for part in layout.parts}
    others: dict[str, Tensor] = {}
    for state in dict.fromkeys(part.state for part in layout.parts):
        for key, tensor in held[state].items():
            lora, whole = _LORA.fullmatch(key), _WHOLE.fullmatch(key)
            if whole and layout.whole:
                others[f"{whole['layer']}.{whole['kind']}"] = tensor
            elif lora and (part := parts.get((state, lora["adapter"]))):
                name = f"{lora['layer']}.lora_{lora['side']}"
                adapted[part.folder][f"{adapter_files.PREFIX}{name}.weight"] = tensor
                rank = held[part.rank]
                if tensor.shape[0 if lora["side"] == "A" else 1] != rank:
                    sizes = tuple(tensor.shape)
                    raise ConversionError(f"{path}: {name} is {sizes}, not of rank {rank}")
            else:
                raise ConversionError(f"{path}: {state} holds {key}, which {layout.method} has not")
    for part in layout.parts:
        _require_all(held, part, adapted[part.folder], path)
    if layout.whole and others.keys() != {"conv_in.weight", "conv_in.bias"}:
        raise ConversionError(f"{path}: lacks the UNet's conv_in, which OSEDiff trains as a whole")
    return adapted, others


def _require_all(
    held: Mapping[str, Any], part: Part, found: Mapping[str, Tensor], path: Path
) -> None:
    """Refuses an adapter that lacks matrices of the layers that the file lists for it."""
    listed = sorted({layer for key in part.modules for layer in held[key]})
    wanted = [f"{layer}.lora_{side}" for layer in listed for side in "AB"]
    lacking = [name for name in wanted if f"{adapter_files.PREFIX}{name}.weight" not in found]
    if lacking or not listed:
        missing = f"{lacking[0]} and {len(lacking) - 1} more" if lacking else "all layers"
        raise ConversionError(f"{path}: {part.state} lacks {missing}; get the file again")


def _write_adapter(folder: Path, state: dict[str, Tensor], rank: int) -> None:
    layers = {key.removeprefix(adapter_files.PREFIX).rsplit(".lora_", 1)[0] for key in state}
    config = {
        "peft_type": "LORA", "r": rank, "lora_alpha": ALPHA, "target_modules": sorted(layers),
        "bias": "none", "fan_in_fan_out": False, "inference_mode": True, "lora_dropout": 0.0,
        "init_lora_weights": True, "base_model_name_or_path": None, "task_type": None,
    }  # fmt: skip
    _write(folder / adapter_files.WEIGHTS, state)
    files.write_json(folder / adapter_files.CONFIG, config)


def _write(path: Path, state: Mapping[str, Tensor]) -> None:
    """Safetensors of copies: tensors of a pickle may share memory."""
    with files.atomic(path) as temporary:
        save_file({k: v.detach().clone().contiguous() for k, v in state.items()}, temporary)

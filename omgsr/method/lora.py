"""LoRA adapters of PEFT on any module: add, switch, merge, save (adapter_files.py loads).

A module has the adapter that is trained and restored with, and in distillation a second one.
"""

import copy
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from omgsr.core import files
from omgsr.core.parallel import side_by_side
from omgsr.models.backbones import compact

DEFAULT, REGULARISER = "default", "regulariser"
"""Names of the adapters; the first is PEFT's own for a module with one."""

# What every PEFT since 0.4 reads; versions before 0.14 refuse names that they do not know.
_FIELDS = (
    "auto_mapping", "base_model_name_or_path", "bias", "fan_in_fan_out", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout",
    "modules_to_save", "peft_type", "r", "revision", "target_modules", "task_type",
)  # fmt: skip


def add(module: nn.Module, rank: int, targets: tuple[str, ...], seed: int) -> PeftModel:
    """Wraps `module` with a fresh adapter on its layers named in `targets`.

    alpha equals the rank, A is Gaussian, B zero: a fresh adapter changes nothing. A is drawn from
    `seed`. Raises ValueError when no layer of the module has one of the names.
    """
    if rank < 1:
        raise ValueError(f"a LoRA rank is 1 or more, got {rank}")
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        init_lora_weights="gaussian",
        target_modules=_matching(module, targets),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return get_peft_model(module, config)


def add_regulariser(module: PeftModel, seed: int) -> None:
    """A second fresh adapter of the same rank and layers; the first stays the active one."""
    config = copy.deepcopy(module.peft_config[DEFAULT])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module.add_adapter(REGULARISER, config)
    module.set_adapter(DEFAULT)


def save(module: PeftModel, folder: Path) -> None:
    """Writes the adapter as a PEFT folder, safetensors only; equal weights give equal bytes.

    A regulariser is of use in training alone and is not written.
    """
    module.save_pretrained(folder, safe_serialization=True, selected_adapters=[DEFAULT])
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's empty model-card template
    files.share(folder / "adapter_model.safetensors")
    config = files.read_json(folder / "adapter_config.json")
    # PEFT keeps the names in a set, whose order changes from process to process.
    config["target_modules"].sort()
    kept = {name: config[name] for name in _FIELDS}
    files.write_json(folder / "adapter_config.json", kept)


def disabled(module: nn.Module) -> AbstractContextManager[None]:
    """Inside, the wrapped module computes as if it had no adapter."""
    return module.disable_adapter() if isinstance(module, PeftModel) else nullcontext()


@contextmanager
def active(module: PeftModel, adapter: str) -> Iterator[None]:
    """Inside, the wrapped module computes with this adapter, whose weights then are trainable.

    A gradient has to be taken inside too where activations are computed a second time for it.
    """
    module.set_adapter(adapter)
    try:
        yield
    finally:
        module.set_adapter(DEFAULT)


def merged(module: Any) -> nn.Module:
    """PEFT model => its base model with W + s B A; what has no adapters stays as it is.

    So does one in 4 bits, to which the sum would be rounded.
    On one thread: the sums of a product depend on how many share it, and so would the last bit of
    every picture on the machine's cores.
    """
    if not hasattr(module, "merge_and_unload") or compact.quantised(module):
        return module
    [whole] = side_by_side(lambda one: one.merge_and_unload(), [module], workers=1)
    return whole


def parameters(module: nn.Module, adapter: str = DEFAULT) -> list[nn.Parameter]:
    """The adapter's weights, in a fixed order."""
    named = module.named_parameters()
    return [p for name, p in named if "lora_" in name and f".{adapter}." in name]


def _matching(module: nn.Module, targets: tuple[str, ...]) -> list[str]:
    """Those of `targets` that name a layer here, sorted; PEFT's config keeps what was applied.

    A name that something without weights has too, as a shortcut that is none, stands for the full
    names of the layers.
    """
    named = [(name, isinstance(m, nn.Linear | nn.Conv2d)) for name, m in module.named_modules()]
    found: list[str] = []
    for target in targets:
        pattern = re.compile(rf"(^|\.){re.escape(target)}$")
        layers = [(name, fits) for name, fits in named if pattern.search(name)]
        if layers and all(fits for _, fits in layers):
            found.append(target)
        else:
            found += [name for name, fits in layers if fits]
    if not found:
        raise ValueError(f"{type(module).__name__} has no layer named one of {', '.join(targets)}")
    return sorted(found)

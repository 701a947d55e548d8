"""PEFT adapter folders, ours or others', checked against the module they are for and put on it.

A folder holds adapter_config.json and adapter_model.safetensors, as every PEFT writes them.
"""

import re
from pathlib import Path

from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from omgsr.core import files

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_USED = (
    "r", "lora_alpha", "target_modules", "exclude_modules", "rank_pattern", "alpha_pattern",
    "use_rslora",
)  # fmt: skip
# What says where an adapter comes from, or is of use in training alone.
_IDLE = (
    "peft_type", "peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision",
    "inference_mode", "lora_dropout",
)  # fmt: skip
_NEEDED = {"r": int, "lora_alpha": int | float, "target_modules": list | str}
_KEY = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])(\.\w+)?\.weight")
PREFIX = "base_model.model."


class AdapterError(ValueError):
    """An adapter folder that cannot be used; the message names it and says why."""


def load(module: nn.Module, folder: Path) -> PeftModel:
    """Wraps `module` with the adapter in `folder`, in fp32; it draws no random number.

    Raises AdapterError for a missing file, a pickle, another method than plain LoRA, and an adapter
    whose layers or sizes are not those of `module`.
    """
    config = _config(folder)
    given = _weights(module, folder)
    try:
        model = PeftModel(module, config, low_cpu_mem_usage=True)  # its weights are still empty
    except ValueError as error:
        raise AdapterError(f"{folder / CONFIG}: {error}") from error
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    _compare(given, expected, module, folder)
    set_peft_model_state_dict(model, given, low_cpu_mem_usage=True)
    return model.eval()


def _config(folder: Path) -> LoraConfig:
    """What the adapter computes with; a field that would change that and is not known is refused.

    Fields that other versions of PEFT do not write, or write beside ours, stay at their defaults.
    """
    if not (folder / CONFIG).is_file():
        raise AdapterError(f"{folder / CONFIG}: missing; an adapter folder holds it")
    fields = files.read_json(folder / CONFIG)
    if not isinstance(fields, dict) or fields.get("peft_type") != "LORA":
        raise AdapterError(f"{folder / CONFIG}: not the configuration of a LoRA adapter of PEFT")
    for name, kinds in _NEEDED.items():
        value = fields.get(name)
        if not value or not isinstance(value, kinds):
            raise AdapterError(f"{folder / CONFIG}: {name} is {value!r}; copy the file again")
    defaults = LoraConfig(init_lora_weights="gaussian").to_dict()
    for name, value in fields.items():
        idle = name in (*_USED, *_IDLE) or not value or value == defaults.get(name)
        if not idle and (name, value) != ("init_lora_weights", True):
            raise AdapterError(
                f"{folder / CONFIG}: {name} is {value!r}; supported is plain LoRA, without it"
            )
    return LoraConfig(**{name: fields[name] for name in _USED if fields.get(name)})


def _weights(module: nn.Module, folder: Path) -> dict[str, Tensor]:
    """The adapter's matrices in fp32 under PEFT's names, whatever wrapper they were saved from."""
    path = folder / WEIGHTS
    if not path.is_file():
        pickle = (folder / "adapter_model.bin").is_file()
        reason = "adapter_model.bin is a pickle, which could run any code; save it as safetensors"
        raise AdapterError(f"{path}: missing; {reason if pickle else 'copy it there'}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise AdapterError(f"{path}: not a safetensors file ({error}); copy it again") from error
    found = {key: match for key in tensors if (match := _KEY.fullmatch(key))}
    other = [key for key in tensors if key not in found]
    if other or not tensors:
        holds = repr(other[0]) if other else "no weights"
        raise AdapterError(
            f"{path}: holds {holds}; supported is plain LoRA, lora_A and lora_B of layers"
        )
    start = _common_start({match["layer"] for match in found.values()}, module, path)
    return {
        f"{PREFIX}{match['layer'][start:]}.lora_{match['side']}.weight": tensors[key].float()
        for key, match in found.items()
    }


def _common_start(layers: set[str], module: nn.Module, path: Path) -> int:
    """Length of what stands before every layer's name in `module`, as base_model.model. does."""
    names = {name for name, _ in module.named_modules() if name}
    starts = set()
    for layer in sorted(layers):
        start = 0
        while layer[start:] not in names:
            dot = layer.find(".", start)
            if dot < 0:
                raise _another(path, module, f"it adapts {layer.removeprefix(PREFIX)}")
            start = dot + 1
        starts.add(layer[:start])
    if len(starts) > 1:
        raise _another(path, module, f"its layers are in {', '.join(sorted(starts))}")
    return len(starts.pop())


def _compare(
    given: dict[str, Tensor], expected: dict[str, Tensor], module: nn.Module, folder: Path
) -> None:
    """Refuses an adapter whose matrices are not those that its configuration makes of `module`."""
    for key in sorted(given.keys() & expected.keys()):
        here, there = tuple(expected[key].shape), tuple(given[key].shape)
        rank = 0 if ".lora_A." in key else 1
        if here[rank] != there[rank]:
            raise AdapterError(
                f"{folder}: the rank of {_short(key)} is {there[rank]} in {WEIGHTS} and "
                f"{here[rank]} in {CONFIG}; they belong to different adapters"
            )
        if here != there:
            sizes = f"its {_short(key)} has {there}, here it takes {here}"
            raise _another(folder, module, sizes)
    for keys, text in (
        (given.keys() - expected.keys(), f"{WEIGHTS} has weights that {CONFIG} does not name"),
        (expected.keys() - given.keys(), f"{WEIGHTS} lacks weights that {CONFIG} names"),
    ):
        if keys:
            found = f"{len(keys)}, such as {min(map(_short, keys))}"
            raise AdapterError(f"{folder}: {text}: {found}; is it the adapter of this backbone?")


def _another(path: Path, module: nn.Module, reason: str) -> AdapterError:
    return AdapterError(
        f"{path}: made for another backbone than this {type(module).__name__}: {reason}; "
        "use the foundation that it was trained on"
    )


def _short(key: str) -> str:
    return key.removeprefix(PREFIX).removesuffix(".weight")

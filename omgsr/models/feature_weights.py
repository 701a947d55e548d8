"""ConvNeXt weights of timm, from a file, a folder of the hub's layout or the hub, as features/.

Only what `features` computes with is taken: the stem and three stages, in the precision they came.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from timm.models.convnext import ConvNeXt, checkpoint_filter_fn
from torch import Tensor

from omgsr.core import files
from omgsr.models import features, weight_files

DINOV3 = tuple(f"convnext_{size}.dinov3_lvd1689m" for size in ("tiny", "small", "base", "large"))
"""The networks of the paper's Dv3CD and discriminator."""
Shapes = dict[str, torch.Size]


def fetch(name: str, path: str | None, folder: Path) -> None:
    """Puts the timm ConvNeXt `name` into `folder`, in the form that features.load reads.

    `path` is a safetensors file or a folder with model.safetensors; None asks timm's hub.
    Raises FileNotFoundError or ValueError that says what to get and where to put it.
    """
    model = features.prune(_network(name))
    try:
        source = _local(name, Path(path)) if path else _download(model.pretrained_cfg["hf_hub_id"])
    except (OSError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, OSError) else ValueError
        raise kind(f"foundation.features.path: {error}. {obtain(name)}") from error
    state = _converted(load_file(source), name, source)
    _check_sizes(name, model, state, source)
    data = timm.data.resolve_model_data_config(model)
    config = {"architecture": name, "arguments": {}, "mean": data["mean"], "std": data["std"]}
    features.write({key: state[key].contiguous() for key in model.state_dict()}, folder, config)


def obtain(name: str) -> str:
    """How to get the weights of a timm model, where to put them, and their terms."""
    config, place = _network(name).pretrained_cfg, f"weights/{name}"
    licence = config.get("license")
    terms = f"licence: {licence}"
    if licence == "dinov3-license":
        terms = "the DINOv3 licence applies, and goes with whatever is passed on of the weights"
    return (
        f"Get it by `hf download {config['hf_hub_id']} config.json model.safetensors --local-dir "
        f"{place}` and set foundation.features.path: {place} ({terms})"
    )


def _network(name: str) -> Any:
    """A timm ConvNeXt without memory for its weights."""
    try:
        model = timm.create_model(name, num_classes=0, device="meta")
    except RuntimeError as error:
        raise ValueError(
            f"foundation.features.name: {error}; allowed: {', '.join(DINOV3)}, or another ConvNeXt "
            "of timm"
        ) from error
    if not isinstance(model, ConvNeXt):
        raise ValueError(f"foundation.features.name: {name} is no ConvNeXt of timm")
    return model


def _local(name: str, path: Path) -> Path:
    """The safetensors at `path`, which is a file or a folder as `hf download` leaves it."""
    if not path.is_dir():
        weight_files.check(path)
        return path
    about = path / "config.json"
    if about.is_file():
        config = files.read_json(about)
        found = config.get("architecture", ""), config.get("pretrained_cfg", {}).get("tag", "")
        given = ".".join(filter(None, found))
        if given and given != name and given.partition(".")[0] != name:
            raise ValueError(f"{path} holds {given}, but foundation.features.name is {name}")
    return weight_files.find(path, "model")[0]


def _download(hub: str) -> Path:
    """The safetensors of a hub id, downloaded if they are not there."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub, "model.safetensors"))
    except Exception as error:  # of many kinds: no network, no such id, no access
        raise FileNotFoundError(
            f"null, and {hub} could not be had from the hub ({summary(error)})"
        ) from error


def summary(error: BaseException) -> str:
    """Kind and first line of another library's error."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _converted(state: dict[str, Tensor], name: str, source: Path) -> dict[str, Tensor]:
    """The state dict under timm's names, from those of timm, of ConvNeXt's or of DINOv3's code."""
    try:
        return checkpoint_filter_fn(state, _network(name))
    except (KeyError, RuntimeError) as error:
        raise ValueError(
            f"{source}: not in timm's layout ({summary(error)}); the file must be timm's own"
        ) from error


def _check_sizes(name: str, model: Any, state: dict[str, Tensor], source: Path) -> None:
    """Refuses weights of another size than the network's, naming both."""
    wanted, kept = _shapes(model.state_dict()), _shapes(state)
    if kept == wanted:
        return
    odd = sorted(key for key in wanted.keys() | kept.keys() if wanted.get(key) != kept.get(key))
    raise ValueError(
        f"foundation.features.name is {name} ({_size(wanted)}), but {source} holds {_named(kept)} "
        f"({_size(kept)}; first difference: {odd[0]}). Correct the name or foundation.features.path"
    )


def _size(shapes: Shapes) -> str:
    """Channels and blocks of every stage: '96, 192, 384 channels, 3, 3, 9 blocks'."""
    stages = [
        [v[0] for k, v in shapes.items() if k.startswith(stage) and k.endswith("conv_dw.weight")]
        for stage in features.KEPT[1:]
    ]
    if not all(stages):
        return "not the stages of a ConvNeXt"
    channels, blocks = ([str(f(stage)) for stage in stages] for f in (max, len))
    return f"{', '.join(channels)} channels, {', '.join(blocks)} blocks"


def _named(shapes: Shapes) -> str:
    """The DINOv3 network that has these sizes, or 'another network'."""
    same = (name for name in DINOV3 if _shapes(_network(name).state_dict()) == shapes)
    return next(same, "another network")


def _shapes(state: dict[str, Tensor]) -> Shapes:
    """Shape of every weight of the stem and the first three stages."""
    return {key: value.shape for key, value in state.items() if key.startswith(features.KEPT)}

"""Weights of a network of timm, from a file, a folder of the hub's layout or the hub, as features/.

Only what `features` computes with is taken: three levels, in the precision they came.
"""

from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

from omgsr.core import files, safe_pickle
from omgsr.models import feature_levels, features, weight_files
from omgsr.models.feature_levels import Family, State

DINOV3 = tuple(f"convnext_{size}.dinov3_lvd1689m" for size in ("tiny", "small", "base", "large"))
"""The networks of the paper's Dv3CD and discriminator."""
PICKLED = ".pth"
Shapes = dict[str, torch.Size]


def fetch(name: str, path: str | None, folder: Path, half: bool = False) -> None:
    """Puts the network `name` of timm into `folder`, in the form that features.load reads.

    `path` is a safetensors file, or a folder with model.safetensors, or a .pth of a family that is
    published so (nothing in it is run); None asks timm's hub. `half` writes half precision, to be
    shipped. Raises FileNotFoundError or ValueError that says what to get and where to put it.
    """
    whole = _network(name)
    family, model = feature_levels.family(whole), feature_levels.prune(_network(name))
    try:
        source = (
            _local(name, Path(path), family)
            if path
            else _download(whole.pretrained_cfg["hf_hub_id"])
        )
        stored = _stored(source)
    except (OSError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, OSError) else ValueError
        raise kind(f"foundation.features.path: {error}. {obtain(name)}") from error
    state, images = _converted(stored, whole, family, source)
    _check_sizes(name, model, state, source)
    data = timm.data.resolve_model_data_config(whole)
    config = {"architecture": name, "arguments": {}, "mean": data["mean"], "std": data["std"]}
    kept = {key: state[key].contiguous() for key in model.state_dict()}
    features.write(features.halved(kept) if half else kept, folder, config | images)


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
    """A network of timm of a known family, without memory for its weights."""
    try:
        model = timm.create_model(name, num_classes=0, device="meta")
    except RuntimeError as error:
        raise ValueError(
            f"foundation.features.name: {error}; allowed: {', '.join(DINOV3)}, or another ConvNeXt "
            "or EfficientNet of timm"
        ) from error
    try:
        feature_levels.family(model)
    except ValueError as error:
        raise ValueError(f"foundation.features.name: {name}: {error}") from error
    return model


def _local(name: str, path: Path, family: Family) -> Path:
    """The file of weights at `path`, which is that or a folder as `hf download` leaves it."""
    if not path.is_dir():
        if not (family.pickled and path.suffix == PICKLED):
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


def _stored(path: Path) -> State:
    """The tensors of a file; ValueError where it holds something else."""
    if path.suffix != PICKLED:
        return load_file(path)
    held = safe_pickle.load(path)
    if not isinstance(held, dict) or not all(isinstance(v, Tensor) for v in held.values()):
        raise ValueError(f"{path}: no state dict, which is names with a tensor each")
    return held


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


def _converted(
    state: State, whole: Any, family: Family, source: Path
) -> tuple[State, dict[str, Any]]:
    """The state under timm's names, from those of timm or of the network's own code, and what that
    says of the images.
    """
    try:
        return family.converted(state, whole)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{source}: not in timm's layout ({summary(error)}); the file must be timm's own"
        ) from error


def _check_sizes(name: str, model: Any, state: State, source: Path) -> None:
    """Refuses weights of another size than the network's, naming both."""
    family = feature_levels.family(model)
    wanted, kept = (_shapes(one, family) for one in (model.state_dict(), state))
    if kept == wanted:
        return
    odd = sorted(key for key in wanted.keys() | kept.keys() if wanted.get(key) != kept.get(key))
    is_, holds = (_size(one, family, type(model).__name__) for one in (wanted, kept))
    raise ValueError(
        f"foundation.features.name is {name} ({is_}), but {source} holds {_named(kept)} "
        f"({holds}; first difference: {odd[0]}). Correct the name or foundation.features.path"
    )


def _size(shapes: Shapes, family: Family, kind: str) -> str:
    """Channels within the blocks of every level, and blocks: '96, 192, 384 channels, 3, 3, 9'."""
    levels = [
        [v[0] for k, v in shapes.items() if k.startswith(level) and k.endswith("conv_dw.weight")]
        for level in family.prefixes
    ]
    if not all(levels):
        return f"without the stages of {kind}"
    channels, blocks = ([str(f(level)) for level in levels] for f in (max, len))
    return f"{', '.join(channels)} channels, {', '.join(blocks)} blocks"


def _named(shapes: Shapes) -> str:
    """The DINOv3 network that has these sizes, or 'another network'."""
    for name in DINOV3:
        model = _network(name)
        if _shapes(model.state_dict(), feature_levels.family(model)) == shapes:
            return name
    return "another network"


def _shapes(state: State, family: Family) -> Shapes:
    """Shape of every weight of the three levels."""
    return {key: value.shape for key, value in state.items() if key.startswith(family.kept)}

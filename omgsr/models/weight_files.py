"""Weight files in a folder of the hub's layout: safetensors, whole, and never a pickle."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from omgsr.core import files

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".msgpack", ".h5")
"""Formats of other libraries, or such that run code when they are read."""


def find(folder: Path, stem: str) -> list[Path]:
    """The safetensors of one network in `folder`: <stem>.safetensors, or every shard of its index.

    Raises FileNotFoundError naming the file that is missing and what lies there in its stead,
    ValueError for one that is not whole.
    """
    single, index = folder / f"{stem}.safetensors", folder / f"{stem}.safetensors.index.json"
    if single.is_file() or not index.is_file():
        found = [single]
    else:
        names = set(files.read_json(index)["weight_map"].values())
        found = [folder / Path(name).name for name in sorted(names)]
    for path in found:
        check(path)
    return found


def check(path: Path) -> None:
    """Refuses a file that is missing, a pickle, a Git LFS pointer or cut short."""
    if path.suffix in PICKLES:
        raise ValueError(
            f"{path}: a {path.suffix} file, which is not read (a pickle can run any code); "
            "get the safetensors of the same model"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing{_instead(path)}")
    with open(path, "rb") as handle:
        if handle.read(24).startswith(b"version https://git-lfs"):
            raise ValueError(f"{path}: a Git LFS pointer and not the weights; run `git lfs pull`")
    try:
        with safe_open(path, "pt"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); get it again") from error


def _instead(path: Path) -> str:
    """What in the folder of a missing file explains that it is missing."""
    beside = sorted(p.name for p in path.parent.glob("*")) if path.parent.is_dir() else []
    variants = [n for n in beside if n.startswith(f"{path.stem}.") and n.endswith(".safetensors")]
    if variants:
        return f"; {variants[0]} is there, a variant that is not read"
    pickles = [n for n in beside if n.endswith(PICKLES)]
    return f"; {pickles[0]} is there, which is not read (it can run any code)" if pickles else ""

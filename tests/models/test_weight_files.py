"""Weight files in a folder of the hub's layout: what is found, and what is said of the rest."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from omgsr.core import files
from omgsr.models import weight_files

STEM = "diffusion_pytorch_model"


def put(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        save_file({"a": torch.zeros(8)}, folder / name)


def shards(folder: Path, count: int) -> list[str]:
    names = [f"{STEM}-0000{i}-of-0000{count}.safetensors" for i in range(1, count + 1)]
    index = {"metadata": {}, "weight_map": {f"layer{i}": name for i, name in enumerate(names)}}
    files.write_json(folder / f"{STEM}.safetensors.index.json", index)
    return names


def test_one_file(tmp_path: Path) -> None:
    put(tmp_path, f"{STEM}.safetensors", f"{STEM}.fp16.safetensors", f"{STEM}.non_ema.safetensors")
    assert weight_files.find(tmp_path, STEM) == [tmp_path / f"{STEM}.safetensors"]


def test_every_shard(tmp_path: Path) -> None:
    names = shards(tmp_path, 2)
    put(tmp_path, *names)
    assert weight_files.find(tmp_path, STEM) == [tmp_path / name for name in names]


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    put(tmp_path, *shards(tmp_path, 3)[:2])
    with pytest.raises(FileNotFoundError, match=r"00003-of-00003\.safetensors is missing"):
        weight_files.find(tmp_path, STEM)


def test_an_index_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    put(tmp_path, "outside.safetensors")
    inside = tmp_path / "unet"
    index = {"weight_map": {"a": "../outside.safetensors"}}
    files.write_json(inside / f"{STEM}.safetensors.index.json", index)
    with pytest.raises(FileNotFoundError, match=r"unet/outside\.safetensors is missing"):
        weight_files.find(inside, STEM)


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ((), r"\.safetensors is missing$"),
        ((f"{STEM}.bin",), rf"{STEM}\.bin is there, which is not read"),
        ((f"{STEM}.fp16.bin", f"{STEM}.fp16.safetensors"),
         rf"{STEM}\.fp16\.safetensors is there, a variant that is not read"),
        ((f"{STEM}.non_ema.safetensors",), r"non_ema\.safetensors is there, a variant"),
    ],
)  # fmt: skip
def test_what_lies_there_instead_is_named(
    tmp_path: Path, beside: tuple[str, ...], said: str
) -> None:
    put(tmp_path, *beside)
    with pytest.raises(FileNotFoundError, match=said):
        weight_files.find(tmp_path, STEM)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"absent/{STEM}\.safetensors is missing$"):
        weight_files.find(tmp_path / "absent", STEM)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    put(tmp_path, f"{STEM}.safetensors")
    path = tmp_path / f"{STEM}.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"not a whole safetensors file .*get it again"):
        weight_files.find(tmp_path, STEM)


def test_a_pointer_of_git_lfs_is_refused(tmp_path: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n"
    (tmp_path / f"{STEM}.safetensors").write_text(text)
    with pytest.raises(ValueError, match="a Git LFS pointer and not the weights; run `git lfs"):
        weight_files.find(tmp_path, STEM)

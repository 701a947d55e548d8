"""Files of weights: tensors come out, nothing is run, and what is wrong is said."""

from __future__ import annotations

import argparse
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from omgsr.core import safe_pickle
from omgsr.core.safe_pickle import UnsafeFile


class Touch:
    """A pickle of it makes a file when it is read without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_weights_come_out_as_they_were(tmp_path: Path) -> None:
    held = {
        "rank": 4, "modules": ["conv_in", "up.0"], "name": None, "scale": 2.0,
        "state": {"a": torch.arange(6.0).view(2, 3).half(), "b": torch.nn.Parameter(torch.ones(2))},
    }  # fmt: skip
    for new in (True, False):  # both formats of torch.save
        torch.save(held, tmp_path / "w.pkl", _use_new_zipfile_serialization=new)
        found = safe_pickle.load(tmp_path / "w.pkl")
        assert {k: v for k, v in found.items() if k != "state"} == {
            k: v for k, v in held.items() if k != "state"
        }
        for name, value in held["state"].items():  # type: ignore[attr-defined]
            assert torch.equal(found["state"][name], value)
            assert found["state"][name].dtype == value.dtype


@pytest.mark.parametrize("how", ["torch", "legacy", "plain", "plain, protocol 2"])
def test_a_pickle_that_would_run_a_function_runs_nothing(tmp_path: Path, how: str) -> None:
    trap, file = tmp_path / "ran", tmp_path / "evil.pkl"
    held = {"state_dict_unet": {"a": torch.zeros(1)}, "rank_unet": Touch(trap)}
    if how.startswith("plain"):
        file.write_bytes(pickle.dumps(Touch(trap), protocol=2 if "2" in how else 4))
    else:
        torch.save(held, file, _use_new_zipfile_serialization=how == "torch")
    with pytest.raises(UnsafeFile) as error:
        safe_pickle.load(file)
    assert str(error.value).startswith(f"{file}: ")
    if how != "plain":
        assert "it asks for posix.system" in str(error.value)
        assert "nothing of it was run" in str(error.value)
    assert "weights_only" not in str(error.value), "no advice to let it run"
    assert not trap.exists()
    if how.startswith("plain"):  # the trap is a real one
        pickle.loads(file.read_bytes())
        assert trap.exists()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        (torch.nn.Linear(1, 1), "it asks for torch.nn.modules.linear.Linear"),
        ({"args": argparse.Namespace(rank=4)}, "it asks for argparse.Namespace"),
        ({"a": {"b": {1, 2}}}, "a.b is a set; allowed: tensors, dicts and lists"),
        ({(1, 2): 3}, r"it has the key \(1, 2\)"),
        ([[[[[[[[[1]]]]]]]]], "nested 8 deep"),
    ],
)
def test_other_objects_are_refused(tmp_path: Path, held: Any, message: str) -> None:
    torch.save(held, tmp_path / "w.pkl")
    with pytest.raises(UnsafeFile, match=message):
        safe_pickle.load(tmp_path / "w.pkl")


def test_damage_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(100)}, tmp_path / "w.pkl")
    whole = (tmp_path / "w.pkl").read_bytes()
    for content, message in (
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"not weights at all", "damaged, or not written by torch.save"),
        (whole[: len(whole) // 2], "damaged, or not written by torch.save"),
    ):
        (tmp_path / "w.pkl").write_bytes(content)
        with pytest.raises(UnsafeFile, match=message) as error:
            safe_pickle.load(tmp_path / "w.pkl")
        assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"none\.pkl: no such file"):
        safe_pickle.load(tmp_path / "none.pkl")

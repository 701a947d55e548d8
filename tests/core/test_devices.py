"""The device is CUDA where there is one, and asking for what is absent is an error."""

import pytest
import torch

from omgsr.core import devices


def test_the_cpu_is_always_there() -> None:
    assert devices.pick("cpu") == torch.device("cpu")


@pytest.mark.parametrize(("there", "kind"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch, there: bool, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert devices.pick().type == kind


def test_cuda_where_there_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"got 'cuda', but no CUDA device .* use auto or cpu"):
        devices.pick("cuda")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:9", "CPU"])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"device: got .*allowed: auto, cuda, mps, cpu"):
        devices.pick(name)

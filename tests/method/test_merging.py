"""Merged adapters: the same weights on every number of cores."""

from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from omgsr.method.lora import merged


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def convolution(threads: int) -> tuple[nn.Module, Tensor]:
    """An adapted first layer, and its weights with s B A added by hand."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    plan = LoraConfig(r=16, lora_alpha=32, target_modules=["0"], init_lora_weights=False)
    model = get_peft_model(nn.Sequential(nn.Conv2d(3, 32, 3)), plan)
    layer = model.base_model.model[0]
    a, b = (getattr(layer, f"lora_{name}")["default"].weight.double() for name in "AB")
    delta = torch.einsum("or,rihw->oihw", b[:, :, 0, 0], a)
    return model, (layer.base_layer.weight.double() + 2 * delta).detach()


def test_weights_are_those_of_the_equation_and_do_not_depend_on_the_cores() -> None:
    whole = []
    for threads in (1, 2, 4):
        model, expected = convolution(threads)
        whole.append(merged(model)[0].weight)
        torch.testing.assert_close(whole[-1].double(), expected, rtol=0, atol=1e-6)
        assert torch.get_num_threads() == threads
    assert torch.equal(whole[0], whole[1])
    assert torch.equal(whole[0], whole[2])


def test_what_has_no_adapters_stays() -> None:
    plain = nn.Linear(2, 2)
    assert merged(plain) is plain

"""Precision of the weights, gradient checkpointing, and the peak of memory."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from omgsr.method import lora
from omgsr.method.settings import Precision
from omgsr.training import memory
from omgsr.training.trainer import Trainer
from tests.helpers import models

CPU = torch.device("cpu")


def placed(tiny: Path, precision: Precision, checkpointing: bool = False) -> Trainer:
    generator, features = models.generator(tiny, trained=0.1), models.feature_network(tiny)
    memory.place(generator, features, CPU, precision, checkpointing)
    changes = {"precision": precision, "gradient_checkpointing": checkpointing}
    return Trainer(generator, features, models.settings(gradient_norms_every=1, **changes))


def test_frozen_weights_are_bf16_and_trained_ones_fp32(tiny: Path) -> None:
    trainer = placed(tiny, "bf16")
    backbone, trained = trainer.generator.backbone, set()
    for part in (backbone.vae, backbone.denoiser):
        own = {id(p) for p in lora.parameters(part)}
        assert own
        trained |= own
        for parameter in part.parameters():
            wanted = torch.float32 if id(parameter) in own else torch.bfloat16
            assert parameter.dtype == wanted
    assert {p.dtype for p in trainer.features.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in trainer.discriminator.parameters()} == {torch.float32}
    assert {id(p) for p in trainer.generator.adapter_parameters()} == trained


def test_a_step_in_bf16_is_near_one_in_fp32(tiny: Path) -> None:
    exact, rough = (placed(tiny, p) for p in ("fp32", "bf16"))  # type: ignore[arg-type]
    terms, near = (t.update([models.batch()]) for t in (exact, rough))
    assert near == pytest.approx(terms, rel=0.1, abs=0.05)
    assert near != terms
    for a, b in ((exact._adapters, rough._adapters), (exact._heads, rough._heads)):
        one, two = (torch.cat([p.grad.flatten() for p in x if p.grad is not None]) for x in (a, b))
        assert two.dtype == torch.float32
        assert float(torch.cosine_similarity(one, two, dim=0)) > 0.8


def test_pictures_and_latents_are_fp32_whatever_the_arithmetic(tiny: Path) -> None:
    trainer = placed(tiny, "bf16")
    x_lq, x_hq = models.pair()
    with trainer.result() as generator, torch.no_grad():
        found = [*generator(x_lq), *generator.targets(x_hq)]
    assert {x.dtype for x in found} == {torch.float32}


def test_gradient_checkpointing_changes_no_gradient(tiny: Path) -> None:
    """Gradient norms too, which go through the graph once for every term."""
    plain, checked = (placed(tiny, "fp32", on) for on in (False, True))
    one, two = (t.update([models.batch()]) for t in (plain, checked))
    assert two == pytest.approx(one, rel=1e-5)
    trained = (t._adapters + t._heads for t in (plain, checked))
    for a, b in zip(*trained, strict=True):
        assert (a.grad is None) == (b.grad is None)
        if a.grad is not None and b.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_gradient_checkpointing_keeps_less(tiny: Path) -> None:
    """Counted where it counts: the bytes that autograd holds for the backward pass."""
    kept = {}
    for on in (False, True):
        trainer, sizes = placed(tiny, "fp32", on), dict[int, int]()

        def pack(x: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            x_sr, _ = trainer.generator(models.pair(side=64)[0])
            trainer.features.plain_and_pooled(x_sr, pooled=True)
        kept[on] = sum(sizes.values())
    assert kept[True] < 0.7 * kept[False]


def test_the_peak_is_that_of_the_process() -> None:
    """In a process of its own: the tests before may have had more."""
    code = (
        "import torch; from omgsr.training import memory; cpu = torch.device('cpu')\n"
        "before = memory.peak_gib(cpu); held = torch.ones(2**28)\n"
        "print(before, memory.peak_gib(cpu), held.sum().item() > 0)"
    )
    # The shell between: Linux counts what a process had before it became another program.
    words = ["sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, code]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    before, after = map(float, said.stdout.split()[:2])
    assert 0.05 < before < after
    assert 0.5 < after - before < 1.2  # 1 GiB, less what the imports had freed

"""Precision of the weights, gradient checkpointing, and the peak of memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from omgsr.method import lora
from omgsr.method.settings import Arithmetic, Precision
from omgsr.models.features import Features
from omgsr.training import memory
from omgsr.training.trainer import Trainer
from tests.helpers import models
from tests.helpers.closeness import apart, assert_same_gradients

CPU = torch.device("cpu")


OFFICIAL = models.precision("bf16", vae="fp32", features="fp32")
"""The released code's precision."""


def placed(
    tiny: Path, given: Precision | Arithmetic, checkpointing: bool = False, **more: Any
) -> Trainer:
    """`given`: of each part, or of all."""
    precision = models.precision(given) if isinstance(given, str) else given
    generator, features = models.generator(tiny, trained=0.1), models.feature_network(tiny)
    memory.place(generator, features, CPU, precision, checkpointing)
    changes = {"precision": precision, "gradient_checkpointing": checkpointing, **more}
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


def test_a_step_in_bf16_through_batch_norms(tiny: Path) -> None:
    """Their weights stay beside their statistics, in fp32: torch takes both in one type alone."""
    looked = Features(timm.create_model("tf_efficientnet_lite0"), (0.5,) * 3, (0.5,) * 3)
    precision = models.precision("bf16")
    generator = models.generator(tiny, trained=0.1)
    memory.place(generator, looked, CPU, precision, checkpointing=True)
    norms = [m for m in looked.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert {p.dtype for norm in norms for p in norm.parameters()} == {torch.float32}
    convolutions = [m for m in looked.modules() if isinstance(m, torch.nn.Conv2d)]
    assert {m.weight.dtype for m in convolutions} == {torch.bfloat16}
    trainer = Trainer(generator, looked, models.settings(precision=precision))
    assert trainer.update([models.batch()])["gan"] > 0


@pytest.mark.parametrize("one", ["vae", "denoiser", "features", "heads"])
def test_every_part_computes_in_its_own_precision(tiny: Path, one: str) -> None:
    """Seen at a convolution of each, whose output has the dtype that it computed in."""
    trainer = placed(tiny, models.precision("fp32", **{one: "bf16"}))  # type: ignore[arg-type]
    seen = dtypes_of(trainer)
    trainer.update([models.batch()])
    kinds = {part: {torch.float32} for part in ("vae", "denoiser", "heads")}
    if one in kinds:
        kinds[one] = {torch.bfloat16}
    both = {torch.float32, torch.bfloat16}  # the trunk is looked through by Dv3CD and by the heads
    kinds["features"] = both if one in ("features", "heads") else {torch.float32}
    assert seen == kinds


def dtypes_of(trainer: Trainer) -> dict[str, set[torch.dtype]]:
    """Filled by the passes that follow."""
    backbone, seen = trainer.generator.backbone, dict[str, set[torch.dtype]]()
    looked_at = {
        "vae": [backbone.vae.encoder, backbone.vae.decoder], "denoiser": [backbone.denoiser],
        "features": [trainer.features.levels], "heads": [trainer.discriminator],
    }  # fmt: skip
    for part, networks in looked_at.items():
        kinds = seen.setdefault(part, set())
        for module in [m for network in networks for m in network.modules()]:
            if isinstance(module, torch.nn.Conv2d) and not hasattr(module, "base_layer"):
                module.register_forward_hook(lambda _, __, y, kinds=kinds: kinds.add(y.dtype))
    return seen


def test_the_shared_trunk_is_bf16_where_both_that_share_it_are(tiny: Path) -> None:
    for given, wanted in ((OFFICIAL, torch.float32), ("bf16", torch.bfloat16)):
        trainer = placed(tiny, given)  # type: ignore[arg-type]
        assert {p.dtype for p in trainer.features.parameters()} == {wanted}


def test_the_official_mix_keeps_the_gradient_of_the_generator(tiny: Path) -> None:
    """0.10 off and 0.27 were seen here, 0.006 and 0.019 with the weights of profile mini."""
    off = {}
    for name, given in (("mix", OFFICIAL), ("all", "bf16")):
        total = 0.0
        for seed in range(4):
            exact, rough = placed(tiny, "fp32"), placed(tiny, given)  # type: ignore[arg-type]
            for trainer in (exact, rough):
                trainer.update([models.batch(seed, count=1, side=64)])
            total += difference(exact._adapters, rough._adapters) / 4
        off[name] = total
    assert off["mix"] < 0.5 * off["all"]


# How far apart the adapters' gradients may be. bf16 keeps 8 bits: every activation and every
# gradient of one is rounded by up to 2^-9 of it. LRR goes through the encoder alone, some 10
# layers: sqrt(2 * 10) * 2^-9 = 0.9 %. The others go through some 50 layers of three networks,
# forward and back, 2 %, and through what turns on small differences at random weights: L1's signs,
# the GAN's features that hardly depend on x, the ratios of small variances in Dv3CD. For them 0.2
# to 0.3 was seen, so that the direction is what is asked for: below 0.7 it is less than 45 degrees
# off, and no factor of 2 is lost. Images of 32 pixels would leave Dv3CD's coarsest maps 1 to 4
# positions, whose variance in bf16 says nothing: there its norm alone is off by half.
PLAIN: tuple[Arithmetic, ...] = ("fp32", "bf16")
BF16_GRADIENT = {"lrr": 0.05, "l1": 0.7, "gan": 0.7, "dv3cd": 0.7}


@pytest.mark.parametrize("loss", BF16_GRADIENT)
def test_a_step_in_bf16_is_near_one_in_fp32(tiny: Path, loss: str) -> None:
    """One loss at a time: the gradient of Dv3CD would hide all others."""
    exact, rough = (placed(tiny, p, losses={loss: 1.0}) for p in PLAIN)
    given = models.batch(side=64)
    terms, near = (t.update([given]) for t in (exact, rough))
    values = {k: v for k, v in terms.items() if not k.startswith("grad/")}
    # A mean over many elements: 10 roundings of 2^-9 that all have one sign are 0.02.
    assert {k: near[k] for k in values} == pytest.approx(values, rel=0.04)
    assert near != terms
    assert difference(exact._adapters, rough._adapters) < BF16_GRADIENT[loss]
    if loss == "gan":  # a few convolutions deep, on features that were rounded: 0.02 was seen
        assert difference(exact._heads, rough._heads) < 0.1


def difference(exact: list[torch.nn.Parameter], rough: list[torch.nn.Parameter]) -> float:
    """Of the gradients, which are in fp32 both."""
    one, two = ([p.grad for p in x if p.grad is not None] for x in (exact, rough))
    assert {x.dtype for x in one + two} == {torch.float32}
    return apart(two, one)


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
    one, two = ([p.grad for p in x._adapters + x._heads] for x in (plain, checked))
    assert_same_gradients([g for g in two if g is not None], [g for g in one if g is not None])


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

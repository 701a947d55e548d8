"""The training step against plain autograd, what it moves, and what stops it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from omgsr.core import seeding
from omgsr.data.datasets import Batch, Pairs
from omgsr.method import losses
from omgsr.training.trainer import NonFiniteLoss, Trainer, fit
from tests.helpers import models
from tests.helpers.models import WEIGHTS


def latent_and_noise(trainer: Trainer, x_hq: Tensor) -> tuple[Tensor, Tensor]:
    """z_H of the encoder without adapter, and the eps of the first step."""
    backbone = trainer.generator.backbone
    encoder = backbone.vae.encoder.unload()  # a bare copy, for good
    moments = backbone.vae.quant_conv(encoder(x_hq))
    z_hq = (moments.chunk(2, dim=1)[0] - backbone.shift) * backbone.scale
    rngs = [seeding.torch_rng(0, "noise", 0, place) for place in range(len(z_hq))]
    eps = torch.stack([torch.randn(z_hq.shape[1:], generator=rng) for rng in rngs])
    return z_hq.detach(), eps


def plain_term(name: str, trainer: Trainer, x_lq: Tensor, x_hq: Tensor) -> Tensor:
    """One term of Eqs. 13 or 15 from a forward pass of its own, with nothing shared."""
    bare = copy.deepcopy(trainer)
    z_hq, eps = latent_and_noise(bare, x_hq)
    x_sr, z_lq = trainer.generator(x_lq)
    heads, features = trainer.discriminator, trainer.features
    if name == "lrr":
        return F.mse_loss(z_lq, trainer.generator.backbone.schedule.add_noise(z_hq, eps, 273))
    if name == "l1":
        return (x_sr - x_hq).abs().mean()
    if name == "gan":
        return losses.gan(heads(features(x_sr)), 0.8)
    if name == "heads":
        fake, real = heads(features(x_sr.detach())), heads(features(x_hq))
        return losses.gan(fake, 0.0) + losses.gan(real, 0.8)
    chains = [features.plain_and_pooled(x, pooled=True)[1] for x in (x_sr, x_hq)]
    return losses.dists(*chains)


def gradients(value: Tensor, parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    return list(torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True))


def assert_close(got: list[Tensor | None], expected: list[Tensor]) -> None:
    """Equal up to the order of float32 sums, relative to the largest gradient."""
    largest = max(float(g.abs().max()) for g in expected)
    assert largest > 0
    for a, b in zip(got, expected, strict=True):
        assert a is not None
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * largest)


def test_generator_gradient_is_that_of_eq_13_and_the_heads_that_of_eq_15(tiny: Path) -> None:
    """Five separate passes; nothing of one network's loss leaks into the other's gradient."""
    trainer, pair = models.trainer(tiny, trained=0.1), models.pair()
    adapters = trainer.generator.adapter_parameters()
    heads = list(trainer.discriminator.parameters())
    expected = [torch.zeros_like(p) for p in adapters]
    values = {}
    for name, weight in WEIGHTS.items():
        value = plain_term(name, trainer, *pair)
        values[name] = float(value.detach())
        for total, gradient in zip(expected, gradients(value, adapters), strict=True):
            total += weight * gradient
    eq_15 = WEIGHTS["gan"] * plain_term("heads", trainer, *pair)
    expected_heads = gradients(eq_15, heads)
    both = float(eq_15.detach()) / WEIGHTS["gan"]

    terms = trainer.update([Batch(*pair)])
    assert_close([p.grad for p in adapters], expected)
    assert_close([p.grad for p in heads], expected_heads)
    for name, value in values.items():
        assert terms[name] == pytest.approx(value, rel=1e-4), name
    assert terms["d_fake"] + terms["d_real"] == pytest.approx(both, rel=1e-4)
    total = sum(WEIGHTS[name] * terms[name] for name in WEIGHTS)
    assert terms["generator"] == pytest.approx(total, rel=1e-5)


def test_the_second_step_carries_no_gradient_of_the_first(tiny: Path) -> None:
    trainer = models.trainer(tiny, trained=0.1, lr=1e-12)  # does not move, so both are equal
    for seed in (5, 0):
        trainer.update([models.batch(seed)])
    fresh = models.trainer(tiny, trained=0.1, lr=1e-12)
    fresh.step = 1  # the noise of the second step
    fresh.update([models.batch(0)])
    for one, two in ((trainer._adapters, fresh._adapters), (trainer._heads, fresh._heads)):
        assert_close([p.grad for p in one], [p.grad for p in two if p.grad is not None])


def all_weights(trainer: Trainer) -> dict[str, Tensor]:
    parts = {"g": trainer.generator, "d": trainer.discriminator, "f": trainer.features}
    return {
        f"{part}.{name}": value.detach().clone()
        for part, module in parts.items()
        for name, value in [*module.named_parameters(), *module.named_buffers()]
    }


def test_only_adapters_and_heads_move_and_all_of_them_do(tiny: Path) -> None:
    trainer = models.trainer(tiny, trained=0.1)
    before = all_weights(trainer)
    trainer.update([models.batch()])
    after = all_weights(trainer)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    wanted = {name for name in before if "lora_" in name or name.startswith("d.heads")}
    # BlurPool's fixed kernels are buffers of the heads.
    assert moved == {name for name in wanted if not name.endswith("filt")}


def test_targets_use_the_plain_encoder_after_training_too(tiny: Path) -> None:
    trainer = models.trainer(tiny, trained=0.1, lr=1e-2)
    _, x_hq = models.pair()
    expected, _ = trainer.generator.targets(x_hq)
    for _ in range(2):
        trainer.update([models.batch()])
    torch.testing.assert_close(trainer.generator.targets(x_hq)[0], expected)
    torch.testing.assert_close(expected, models.backbone(tiny).encode(x_hq).detach())


def test_accumulating_two_batches_of_one_is_one_batch_of_two(tiny: Path) -> None:
    """All terms are means over the batch, so shares of 1/2 add up to the same gradient."""
    x_lq, x_hq = models.pair()
    together, apart = (models.trainer(tiny, trained=0.1) for _ in range(2))
    one = together.update([Batch(x_lq, x_hq)])
    two = apart.update([Batch(x_lq[:1], x_hq[:1]), Batch(x_lq[1:], x_hq[1:])])
    assert two == pytest.approx(one, rel=1e-4)
    for a, b in ((together._adapters, apart._adapters), (together._heads, apart._heads)):
        assert_close([p.grad for p in b], [p.grad for p in a if p.grad is not None])


@pytest.mark.parametrize("losses", [{"lrr": 5.0, "l1": 0.5}, {"dv3cd": 1.0, "gan": 0.0}])
def test_without_gan_the_heads_stay_as_they_are(tiny: Path, losses: dict[str, float]) -> None:
    trainer = models.trainer(tiny, losses=losses)
    before = {k: v.clone() for k, v in trainer.discriminator.state_dict().items()}
    terms = trainer.update([models.batch()])
    after = trainer.discriminator.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert set(terms) == {name for name, weight in losses.items() if weight} | {"generator"}


@pytest.mark.parametrize("name", ["lrr", "to_hq", "l1", "dv3cd"])
def test_a_loss_moves_the_part_it_looks_at(tiny: Path, name: str) -> None:
    """The latent losses stop at the encoder; the image losses reach the denoiser too."""
    trainer = models.trainer(tiny, trained=0.1, losses={name: 1.0})
    trainer.update([models.batch()])
    backbone = trainer.generator.backbone
    encoder, denoiser = (
        [p for p in part.parameters() if p.grad is not None]
        for part in (backbone.vae.encoder, backbone.denoiser)
    )
    assert encoder
    assert bool(denoiser) == (name in ("l1", "dv3cd"))


def state_of(trainer: Trainer) -> dict[str, Any]:
    return copy.deepcopy(trainer.state_dict())


def assert_equal(a: Any, b: Any) -> None:
    if isinstance(a, dict):
        assert set(a) == set(b)
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def broken(part: str, trainer: Trainer, pair: Batch) -> str:
    """Makes one thing NaN; returns the term that must be named."""
    with torch.no_grad():
        if part == "hq":
            pair[1][0, 0, 0, 0] = float("nan")
            return "lrr"
        if part == "head":
            trainer.discriminator.heads[1][-1].weight.fill_(float("nan"))
            return "gan"
    trainer.generator.adapter_parameters()[0].register_hook(lambda g: g * float("inf"))
    return "gradient of generator"


@pytest.mark.parametrize("part", ["hq", "head", "gradient"])
def test_a_non_finite_value_stops_before_anything_moves(tiny: Path, part: str) -> None:
    """In the second batch of the second step, so that the optimisers have a state to lose."""
    trainer = models.trainer(tiny, trained=0.1)
    trainer.update([models.batch(0), models.batch(1)])
    bad = models.batch(3)
    name = broken(part, trainer, bad)
    before = state_of(trainer)
    with pytest.raises(NonFiniteLoss, match=f"step 2: the term '{name}' is (nan|inf)"):
        trainer.update([models.batch(2), bad])
    after = trainer.state_dict()
    if part == "head":  # NaN is not equal to itself
        before["heads"] = after["heads"] = {}
    assert_equal(after, before)
    assert trainer.step == 1


def test_only_one_loss_is_named_when_it_alone_is_not_finite(tiny: Path) -> None:
    trainer = models.trainer(tiny, losses={"lrr": 1.0, "l1": 1e39})  # the weighted sum overflows
    with pytest.raises(NonFiniteLoss, match="step 1: the term 'generator' is inf"):
        trainer.update([models.batch()])


def test_clipping_limits_the_norm_of_each_network(tiny: Path) -> None:
    free, clipped = (models.trainer(tiny, trained=0.1, clip_grad=c) for c in (None, 0.01))
    for trainer in (free, clipped):
        trainer.update([models.batch()])
    for one, two in ((free._adapters, clipped._adapters), (free._heads, clipped._heads)):
        long, short = (
            torch.cat([p.grad.flatten() for p in x if p.grad is not None]) for x in (one, two)
        )
        assert float(long.norm()) > 0.01
        assert float(short.norm()) == pytest.approx(0.01, rel=1e-3)
        torch.testing.assert_close(short, long * 0.01 / long.norm(), rtol=1e-3, atol=1e-7)


def test_fresh_heads_depend_on_the_seed_alone(tiny: Path) -> None:
    parts = models.generator(tiny), models.feature_network(tiny)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = (Trainer(*parts, models.settings(seed=s)) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    a, b, c = (t.discriminator.heads[0][-1].weight for t in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_a_step_does_not_depend_on_the_global_generator(tiny: Path) -> None:
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(models.trainer(tiny, latent="sample").update([models.batch()]))
    assert results[0] == results[1]


def test_the_noise_differs_from_step_to_step(tiny: Path) -> None:
    trainer = models.trainer(tiny, losses={"lrr": 1.0}, lr=1e-12)
    first, second = (trainer.update([models.batch()])["lrr"] for _ in range(2))
    assert first != pytest.approx(second, rel=1e-6)


def test_one_pair_can_be_learnt_by_heart(tiny: Path) -> None:
    """The HQ is what other adapter weights give, so an L1 of zero exists."""
    x_lq, _ = models.pair(batch=1, side=8)
    with torch.no_grad():
        x_hq, _ = models.generator(tiny, seed=1, trained=0.15)(x_lq)
    plan = {"losses": {"l1": 1.0}, "steps": 120, "lr": 2e-2, "lr_schedule": "cosine"}
    trainer = models.trainer(tiny, weight_decay=0.0, **plan)
    values = [trainer.update([Batch(x_lq, x_hq)])["l1"] for _ in range(120)]
    assert values[0] > 0.2
    assert values[-1] < 0.05 * values[0]


def test_fit_yields_every_step_with_its_number(tiny: Path, tmp_path: Path) -> None:
    pairs = Pairs(models.write_pairs(tmp_path, 3), scale=4, crop=None, seed=0)
    trainer = models.trainer(tiny, steps=3, batch=1, accumulate=2)
    assert [terms["step"] for terms in fit(trainer, pairs)] == [1, 2, 3]
    assert list(fit(trainer, pairs)) == []


def test_cosine_schedule_falls_from_lr_to_zero(tiny: Path) -> None:
    trainer = models.trainer(tiny, losses={"l1": 1.0}, lr=0.5, lr_schedule="cosine", steps=4)
    rates = [trainer.settings.lr_at(step) for step in range(5)]
    assert rates == pytest.approx([0.5, 0.426776695, 0.25, 0.073223305, 0.0])
    trainer.step = 4  # the rate is 0: an update moves nothing
    before = [p.detach().clone() for p in trainer.generator.adapter_parameters()]
    trainer.update([models.batch()])
    assert all(map(torch.equal, before, trainer.generator.adapter_parameters()))


def plain_gradients(trainer: Trainer, x_lq: Tensor, x_hq: Tensor, fake_label: bool) -> list[Tensor]:
    """Gradient of Eq. 12 (or of Eq. 15) in the heads, each from a pass of its own, with weight."""
    name = "heads" if fake_label else "gan"
    value = WEIGHTS["gan"] * plain_term(name, trainer, x_lq, x_hq)
    return gradients(value, list(trainer.discriminator.parameters()))


def test_leftover_adds_the_generators_gradient_to_the_heads(tiny: Path) -> None:
    """The official code's accident (T2), as a setting: the heads get Eq. 12 plus Eq. 15."""
    trainer = models.trainer(tiny, trained=0.1, head_gradient="leftover")
    pair = models.pair()
    own = plain_gradients(trainer, *pair, True)
    other = plain_gradients(trainer, *pair, False)
    assert max(float(g.abs().max()) for g in other) > 1e-4
    trainer.update([Batch(*pair)])
    assert_close([p.grad for p in trainer._heads], [a + b for a, b in zip(own, other, strict=True)])


def test_with_leftover_a_fake_is_best_called_two_fifths(tiny: Path) -> None:
    """Eq. 12 pulls a fake to 0.8 and Eq. 14 to 0: their sum is least at 0.4 (field.md, T2)."""
    probability = torch.linspace(0.01, 0.99, 99)
    logit = [torch.logit(probability).view(-1, 1, 1, 1)]
    both = torch.stack([losses.gan([x[None]], 0.8) + losses.gan([x[None]], 0.0) for x in logit[0]])
    assert float(probability[both.argmin()]) == pytest.approx(0.4)


def test_clamp_ends_gradients_outside_the_range(tiny: Path) -> None:
    """Where everything is outside, L1 moves nothing with the clamp and something without it."""
    found = {}
    for clamp in (False, True):
        trainer = models.trainer(tiny, trained=0.1, losses={"l1": 1.0}, clamp=clamp)
        decode = trainer.generator.backbone.decode
        trainer.generator.backbone.decode = lambda z, d=decode: d(z) + 50  # type: ignore
        terms = trainer.update([models.batch()])
        moved = [p.grad for p in trainer._adapters if p.grad is not None]
        found[clamp] = sum(float(g.abs().sum()) for g in moved)
        assert (terms["l1"] > 40) == (not clamp)
    assert found[True] == 0 < found[False]


def test_gradient_norms_are_those_of_single_losses(tiny: Path) -> None:
    trainer = models.trainer(tiny, trained=0.1, gradient_norms_every=2, lr=1e-12)
    pair = models.pair()
    assert not any(name.startswith("grad/") for name in trainer.update([Batch(*pair)]))
    trainer.step = 1
    terms = trainer.update([Batch(*pair)])
    adapters = trainer.generator.adapter_parameters()
    for name in ("gan", "dv3cd", "l1"):  # lrr has the noise of its step
        single = gradients(WEIGHTS[name] * plain_term(name, trainer, *pair), adapters)
        norm = float(torch.cat([g.flatten() for g in single]).norm())
        assert terms[f"grad/{name}"] == pytest.approx(norm, rel=1e-3)
    whole = torch.cat([p.grad.flatten() for p in adapters if p.grad is not None])
    assert terms["grad/generator"] == pytest.approx(float(whole.norm()), rel=1e-4)
    assert {"grad/lrr", "grad/heads"} < set(terms)


def test_measuring_gradients_changes_nothing(tiny: Path) -> None:
    plain, measured = (models.trainer(tiny, gradient_norms_every=n) for n in (None, 1))
    for step in range(2):
        for trainer in (plain, measured):
            trainer.update([models.batch(step), models.batch(step + 9)])
    assert all(map(torch.equal, plain.adapters(), measured.adapters()))


@pytest.mark.parametrize(
    "change", [{"diffaugment": "shared"}, {"diffaugment": "anew"}, {"spectral_norm": True}]
)
def test_what_the_heads_see_or_are_can_be_changed(tiny: Path, change: dict[str, Any]) -> None:
    """Only the discriminator's terms change in the first step; the heads keep learning."""
    plain, changed = models.trainer(tiny), models.trainer(tiny, **change)
    one, two = plain.update([models.batch()]), changed.update([models.batch()])
    assert {k for k in one if one[k] != two[k]} == {"gan", "d_fake", "d_real", "generator"}
    again = models.trainer(tiny, **change)
    assert again.update([models.batch()]) == two
    assert all(p.grad is not None for p in changed.discriminator.parameters())


def test_the_heads_pass_draws_anew_what_the_generators_pass_shows(tiny: Path) -> None:
    """Shared, both see one picture; anew, only the heads' own view of x_sr is another."""
    shared, anew = (models.trainer(tiny, diffaugment=d) for d in ("shared", "anew"))
    seen = dict[str, list[Tensor]]()
    for name, trainer in (("shared", shared), ("anew", anew)):
        maps = seen.setdefault(name, [])
        trainer.discriminator.register_forward_pre_hook(
            lambda _, given, maps=maps: maps.append(given[0][0].detach())
        )
        terms = trainer.update([models.batch()])
        seen[name] += [torch.tensor([terms["gan"], terms["d_real"], terms["d_fake"]])]
    for name, same in (("shared", True), ("anew", False)):
        generators, fake, _, _ = seen[name]
        assert torch.equal(generators, fake) == same
    assert torch.equal(seen["shared"][0], seen["anew"][0])  # the generator's pass
    assert torch.equal(seen["shared"][2], seen["anew"][2])  # x_hq


def test_views_drawn_anew_do_not_depend_on_how_pairs_are_batched(tiny: Path) -> None:
    """Each pair draws from its own generator, so nor on the processes that share them."""
    x_lq, x_hq = models.pair()
    together, apart = (models.trainer(tiny, trained=0.1, diffaugment="anew") for _ in range(2))
    one = together.update([Batch(x_lq, x_hq)])
    two = apart.update([Batch(x_lq[:1], x_hq[:1]), Batch(x_lq[1:], x_hq[1:])])
    assert two == pytest.approx(one, rel=1e-4)


def test_a_checkpoint_of_other_heads_is_refused(tiny: Path) -> None:
    state = models.trainer(tiny).state_dict()
    other = models.trainer(tiny, heads="official")
    with pytest.raises(ValueError, match=r"train.heads: got official, .* checkpoint's are map"):
        other.load_state_dict(state)


def test_spectral_norm_makes_the_largest_singular_value_one(tiny: Path) -> None:
    trainer = models.trainer(tiny, spectral_norm=True)
    for _ in range(20):
        trainer.update([models.batch()])
    for _ in range(20):  # in training u and v lag behind
        trainer.discriminator.iterate()
    for head in trainer.discriminator.heads:
        for module in head.modules():
            if isinstance(module, torch.nn.Conv2d):
                largest = torch.linalg.matrix_norm(module.weight.flatten(1), 2)
                assert float(largest.detach()) == pytest.approx(1, abs=0.02)


def test_a_loss_that_is_not_finite_names_its_pairs(tiny: Path) -> None:
    trainer, bad = models.trainer(tiny), models.batch(7)
    bad.x_lq[1] = float("inf")
    with pytest.raises(NonFiniteLoss, match=r"Pairs of this batch: image7_0, image7_1\.") as caught:
        trainer.update([models.batch(1), bad])
    assert caught.value.names == ["image7_0", "image7_1"]
    assert (caught.value.step, caught.value.term) == (1, "lrr")

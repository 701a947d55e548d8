"""Variational score distillation on the tiny model: against plain arithmetic, and kept apart."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from omgsr.core import seeding
from omgsr.method import distillation, lora, losses
from omgsr.method.generator import Generator
from omgsr.training import memory
from omgsr.training.trainer import Trainer
from tests.helpers import models
from tests.training.test_session import outputs, run, start

LOSSES = {"l2": 1.0, "ssim": 2.0, "vsd": 1.0}
VSD = {"vsd": 1.0}


@pytest.fixture
def distiller(tiny: Path) -> Generator:
    """Both adapters trained a little, so that all three denoisers differ."""
    made = models.generator(tiny, trained=0.1)
    made.add_regulariser(seed=0)
    shake(made)
    return made


def shake(made: Generator) -> None:
    rng = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in made.regulariser_parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng))


def rngs(count: int, seed: int = 5) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def predicted(made: Generator, adapter: str | None, z_t: Tensor, t: int) -> Tensor:
    """eps of the pre-trained denoiser (None) or of an adapter, through PEFT's own switches."""
    denoiser = made.backbone.denoiser
    with torch.no_grad():
        if adapter is None:
            with denoiser.disable_adapter():
                return made.backbone.predict(z_t, t)
        denoiser.set_adapter(adapter)
        eps = made.backbone.predict(z_t, t)
        denoiser.set_adapter("default")
        return eps


def plain_direction(made: Generator, z: Tensor, rng: torch.Generator) -> Tensor:
    """noise / signal (eps_pre - eps_reg) / mean|z - z0_pre| of one latent."""
    t = int(torch.randint(20, 980, (), generator=rng))
    eps = torch.randn(z.shape, generator=rng)
    alpha_bar = float(models.scheduler().alphas_cumprod[t])
    signal, noise = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
    z_t = signal * z + noise * eps
    pre = predicted(made, None, z_t, t)
    difference = pre - predicted(made, "regulariser", z_t, t)
    clean = (z_t - noise * pre) / signal
    return noise / signal * difference / (z - clean).abs().mean()


def test_the_direction_is_the_difference_of_scores(distiller: Generator) -> None:
    z = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    got = distillation.direction(distiller, z, rngs(2))
    one, two = (plain_direction(distiller, z[i : i + 1], rng) for i, rng in enumerate(rngs(2)))
    expected = torch.cat([one, two])
    assert float(expected.abs().mean()) > 1e-3
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5)


def test_a_fresh_regulariser_gives_no_direction(tiny: Path) -> None:
    """It starts as the pre-trained denoiser, whatever the generator has learnt."""
    made = models.generator(tiny, trained=0.1)
    made.add_regulariser(seed=0)
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert float(distillation.direction(made, z, rngs(1)).abs().max()) == 0


def test_the_loss_has_the_direction_as_its_gradient() -> None:
    z = torch.randn(2, 4, 3, 3, requires_grad=True)
    direction = torch.randn(2, 4, 3, 3)
    value = losses.vsd(z, direction)
    assert value.item() == pytest.approx(direction.square().mean().item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(value, z)
    torch.testing.assert_close(gradient, 2 * direction / direction.numel(), rtol=1e-3, atol=1e-6)


def trainer(tiny: Path, **changes: Any) -> Trainer:
    made = models.trainer(tiny, trained=0.1, **({"losses": VSD} | changes))
    shake(made.generator)
    return made


def test_a_step_gives_each_adapter_its_own_gradient(tiny: Path) -> None:
    """Against separate plain passes: VSD for the generator, the diffusion loss for the other."""
    made, plain = trainer(tiny), trainer(tiny).generator
    batch = models.batch(count=1)
    terms = made.update([batch])

    first = seeding.torch_rng(0, "noise", 0, 0)  # it first gives the eps of z_t* (Eq. 6)
    _, z = plain.latents(batch.x_lq)
    torch.randn(z.shape, generator=first)
    direction = plain_direction(plain, z.detach(), first)
    adapters = plain.adapter_parameters()
    expected = torch.autograd.grad((2 * direction * z).sum() / z.numel(), adapters)
    for a, b in zip(made._adapters, expected, strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b, rtol=1e-3, atol=1e-7)
    assert terms["vsd"] == pytest.approx(direction.square().mean().item(), rel=1e-3)

    t = int(torch.randint(20, 980, (), generator=first))
    eps = torch.randn(z.shape, generator=first)
    z_t = plain.backbone.schedule.add_noise(z.detach(), eps, t)
    plain.backbone.denoiser.set_adapter("regulariser")
    loss = F.mse_loss(plain.backbone.predict(z_t, t), eps)
    wanted = torch.autograd.grad(loss, plain.regulariser_parameters())
    assert terms["regulariser"] == pytest.approx(loss.item(), rel=1e-4)
    for a, b in zip(made._regulariser, wanted, strict=True):
        assert a.grad is not None
        torch.testing.assert_close(a.grad, b, rtol=1e-3, atol=1e-7)


def test_the_regulariser_learns_the_generators_latents(tiny: Path) -> None:
    """The generator stands still: the diffusion loss on its latents falls."""
    made = models.trainer(tiny, losses=VSD, lr=1e-2)
    for parameter in made._adapters:
        parameter.register_hook(torch.zeros_like)
    made.settings.__dict__["weight_decay"] = 0.0
    values = [made.update([models.batch(0)])["regulariser"] for _ in range(50)]
    assert sum(values[-10:]) < 0.85 * sum(values[:10])


def test_there_are_no_heads_without_gan(tiny: Path) -> None:
    made = models.trainer(tiny, losses=LOSSES)
    assert made._heads == []
    assert list(made._parts) == ["generator", "regulariser"]
    assert len(made._optimisers) == 2


def test_without_vsd_there_is_no_regulariser(tiny: Path) -> None:
    made = models.trainer(tiny)
    assert made.generator.regulariser_parameters() == []
    assert list(made._parts) == ["generator", "heads"]
    with pytest.raises(ValueError, match="vsd needs a regulariser; call Generator"):
        Trainer(made.generator, made.features, models.settings(losses=VSD))


def test_the_regulariser_changes_no_picture_and_is_not_saved(
    tiny: Path, distiller: Generator, tmp_path: Path
) -> None:
    x_lq, _ = models.pair()
    alone = models.generator(tiny, trained=0.1)
    with torch.no_grad():
        assert torch.equal(distiller(x_lq)[0], alone(x_lq)[0])
    for name, made in (("with", distiller), ("without", alone)):
        lora.save(made.backbone.denoiser, tmp_path / name)
    found = [sorted(p.name for p in (tmp_path / n).rglob("*")) for n in ("with", "without")]
    assert found[0] == found[1] == ["adapter_config.json", "adapter_model.safetensors"]
    for name in found[0]:
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_the_average_is_of_the_generator_alone(tiny: Path) -> None:
    made = trainer(tiny, ema=0.9)
    made.update([models.batch()])
    before = [p.detach().clone() for p in made._regulariser]
    with made.result():
        assert all(map(torch.equal, before, made._regulariser))
    assert len(made.adapters()) == len(made._adapters)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_half_precision_and_recomputed_activations(tiny: Path, checkpointing: bool) -> None:
    """A recomputed pass sees the adapter that it was made with."""
    precision, device = models.precision("fp32" if checkpointing else "bf16"), torch.device("cpu")
    exact, other = trainer(tiny), trainer(tiny, precision=precision)
    memory.place(other.generator, other.features, device, precision, checkpointing)
    if checkpointing:  # blocks recompute while a model is trained
        for made in (exact, other):
            made.generator.backbone.denoiser.train()
    for made in (exact, other):
        made.update([models.batch()])
    assert all(p.dtype == torch.float32 for p in other._regulariser)
    for name in ("_adapters", "_regulariser"):
        a, b = (
            torch.cat([p.grad.flatten() for p in getattr(made, name) if p.grad is not None])
            for made in (exact, other)
        )
        assert float(F.cosine_similarity(a, b, dim=0)) > (0.999999 if checkpointing else 0.9)


@pytest.mark.parametrize("killed", [2, 3, 5])
def test_a_killed_distillation_ends_in_the_same_bytes(
    tiny: Path, tmp_path: Path, killed: int
) -> None:
    rows = models.write_pairs(tmp_path / "pairs", 5, side=32)
    plan: dict[str, Any] = {"losses": LOSSES, "gradient_norms_every": 2}
    whole = start(tiny, tmp_path / "whole", **plan)
    run(whole, rows)
    run(start(tiny, tmp_path / "cut", **plan), rows, until=killed)
    again = start(tiny, tmp_path / "cut", **plan)
    run(again, rows)
    assert outputs(whole, tmp_path / "a") == outputs(again, tmp_path / "b")
    assert whole.history[-1]["step"] == 5
    a, b = (session.trainer._regulariser for session in (whole, again))
    assert all(map(torch.equal, a, b))
    assert not all(map(torch.equal, a, models.trainer(tiny, losses=VSD)._regulariser))

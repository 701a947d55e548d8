"""The one-step generator against its equations written out, and its targets."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from omgsr.method.generator import Generator
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone
from tests.helpers import models

SHIFT, SCALE = 0.1, 1.7


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoded(backbone: Backbone, x: Tensor) -> Tensor:
    return (backbone.vae.encode(x).latent_dist.mean - SHIFT) * SCALE


@torch.no_grad()
def one_step(backbone: Backbone, x: Tensor, t: int, prediction: str) -> Tensor:
    """Eqs. 6 and 7 with diffusers alone."""
    alpha_bar = models.scheduler().alphas_cumprod[t]
    z_lq = encoded(backbone, x)
    prompt = backbone.prompt["prompt"].expand(len(x), -1, -1)
    output = backbone.denoiser(z_lq, torch.tensor(t), prompt).sample
    if prediction == "epsilon":
        z_sr = (z_lq - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
    else:
        z_sr = alpha_bar.sqrt() * z_lq - (1 - alpha_bar).sqrt() * output
    return backbone.vae.decode(z_sr / SCALE + SHIFT).sample


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("t", [1, 273, 999])
def test_forward_is_the_one_step_of_the_paper(tmp_path: Path, prediction: str, t: int) -> None:
    folder = models.write_foundation(tmp_path, prediction)
    x_lq, _ = models.pair()
    with torch.no_grad():
        x_sr, z_lq = models.generator(folder, t)(x_lq)
    backbone = from_folder.load(folder)
    expected = one_step(backbone, x_lq, t, prediction)
    torch.testing.assert_close(x_sr, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(z_lq, encoded(backbone, x_lq))


def test_targets_are_the_noised_latents_of_the_plain_encoder(tiny: Path) -> None:
    """Also with a trained adapter: Eq. 6 asks for E, not for the adapted E."""
    generator = models.generator(tiny, t=273, trained=0.3)
    _, x_hq = models.pair()
    z_hq, z_t = generator.targets(x_hq, rng(4))
    with torch.no_grad():
        plain = encoded(models.backbone(tiny), x_hq)
        adapted = encoded(generator.backbone, x_hq)
    torch.testing.assert_close(z_hq, plain)
    assert not torch.allclose(z_hq, adapted, atol=1e-3)
    alpha_bar = models.scheduler().alphas_cumprod[273]
    eps = torch.randn(z_hq.shape, generator=rng(4))
    torch.testing.assert_close(z_t, alpha_bar.sqrt() * plain + (1 - alpha_bar).sqrt() * eps)
    assert not z_hq.requires_grad
    assert not z_t.requires_grad


def test_targets_leave_the_adapters_on_and_trainable(tiny: Path) -> None:
    generator = models.generator(tiny, trained=0.3)
    x_lq, x_hq = models.pair()
    before = generator(x_lq)[0]
    generator.targets(x_hq, rng())
    assert torch.equal(generator(x_lq)[0], before)
    assert all(p.requires_grad for p in generator.adapter_parameters())


def test_both_adapters_and_nothing_else_are_trainable(tiny: Path) -> None:
    generator = models.generator(tiny)
    trainable = [name for name, p in generator.named_parameters() if p.requires_grad]
    assert len(trainable) == len(generator.adapter_parameters())
    assert all("lora_" in name for name in trainable)
    assert any("vae.encoder" in name for name in trainable)
    assert any("denoiser" in name for name in trainable)
    assert not any("decoder" in name for name in trainable)


def test_every_adapter_weight_has_a_gradient(tiny: Path) -> None:
    generator = models.generator(tiny, trained=0.1)
    generator(models.pair()[0])[0].square().sum().backward()
    gradients = [p.grad for p in generator.adapter_parameters()]
    assert all(g is not None and bool(g.any()) for g in gradients)


def test_adapters_do_not_depend_on_what_was_drawn_before(tiny: Path) -> None:
    torch.manual_seed(1)
    first = models.generator(tiny).adapter_parameters()
    torch.manual_seed(2)
    second = models.generator(tiny).adapter_parameters()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_samples_of_the_posterior_follow_the_generator(tiny: Path) -> None:
    generator = models.generator(tiny, latent="sample")
    x_lq, _ = models.pair()
    with torch.no_grad():
        first, again, other = (generator(x_lq, rng(s))[1] for s in (0, 0, 1))
        mode = models.generator(tiny)(x_lq, rng())[1]
        posterior = generator.backbone.vae.encode(x_lq).latent_dist
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    eps = torch.randn(mode.shape, generator=rng(0))
    torch.testing.assert_close(first, mode + posterior.std * eps * SCALE)


def test_one_generator_an_image_makes_samples_independent_of_the_batch(tiny: Path) -> None:
    generator = models.generator(tiny, latent="sample")
    x_lq, _ = models.pair()
    with torch.no_grad():
        together, _ = generator(x_lq, [rng(1), rng(2)])
        alone, _ = generator(x_lq[1:], [rng(2)])
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 3, 31, 32), (1, 3, 32, 33), (1, 4, 32, 32), (3, 32, 32)])
def test_sizes_that_the_model_does_not_take_are_refused(tiny: Path, shape: tuple[int]) -> None:
    generator = models.generator(tiny)
    for call in (generator, generator.targets):
        with pytest.raises(ValueError, match="H and W multiples of 2"):
            call(torch.zeros(shape))


@pytest.mark.parametrize("t", [0, 1000])
def test_a_timestep_outside_the_schedule_is_refused(tiny: Path, t: int) -> None:
    with pytest.raises(ValueError, match=r"outside 1\.\.999"):
        Generator(models.backbone(tiny), t)


def test_the_backbone_says_its_reduction_and_alignment(tiny: Path) -> None:
    backbone = models.backbone(tiny)
    assert (backbone.reduction, backbone.alignment) == (2, 4)
    with torch.no_grad():
        assert backbone.encode(torch.zeros(2, 3, 8, 12)).shape == (2, 4, 4, 6)
        assert backbone.decode(torch.zeros(2, 4, 4, 6)).shape == (2, 3, 8, 12)


@pytest.mark.parametrize(
    "part",
    ["model/vae/config.json", "model/unet/config.json", "model/scheduler/scheduler_config.json",
     "prompt.safetensors"],
)  # fmt: skip
def test_a_missing_part_of_the_foundation_is_named(tmp_path: Path, part: str) -> None:
    folder = models.write_foundation(tmp_path)
    (folder / part).unlink()
    with pytest.raises(FileNotFoundError, match=f"{part} is missing.*dvc repro -f foundation"):
        from_folder.load(folder)


def test_an_unknown_backbone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "foundation.json").write_text('{"backbone": "sd9", "path": "model"}')
    with pytest.raises(ValueError, match="'sd9' is unknown; known: sd"):
        from_folder.load(tmp_path)

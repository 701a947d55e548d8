"""Qwen-Image's video VAE in 2-D: the same numbers as in 3-D, gradients, adapters."""

import pytest
import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor, nn

from benchmarks import still_vae
from omgsr.method import lora
from omgsr.models.backbones.qwen_image import QwenImage
from omgsr.models.backbones.still_vae import StillVAE
from tests.helpers import flow_hub
from tests.helpers.closeness import apart


def both(**changes: object) -> tuple[AutoencoderKLQwenImage, StillVAE]:
    """The VAE of videos and that of stills, with the same weights."""
    torch.manual_seed(0)
    video, copy = (flow_hub.qwen_vae(**changes).eval() for _ in range(2))
    for parameter in video.parameters():
        if parameter.ndim < 2 or parameter.shape[1:].numel() == 1:  # biases and norms of a trained
            nn.init.normal_(parameter, 1.0, 0.2)
    copy.load_state_dict(video.state_dict())
    return video, StillVAE(copy).eval()


def picture(height: int = 48, width: int = 64, count: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, height, width, generator=rng) * 2 - 1


@pytest.mark.parametrize("changes", [{}, {"num_res_blocks": 2, "dim_mult": [1, 2, 4, 4]}])
def test_it_equals_the_video_vae_over_one_frame(changes: dict[str, object]) -> None:
    video, still = both(**changes)
    x = picture()
    with torch.no_grad():
        moments = video.encode(x[:, :, None]).latent_dist.parameters
        got = still.encode(x).latent_dist.parameters
        assert got.shape == (2, 32, 6, 8)
        assert apart([got], [moments[:, :, 0]]) < 1e-5
        z = moments[:, :16]
        expected, made = video.decode(z).sample[:, :, 0], still.decode(z[:, :, 0]).sample
        assert made.shape == x.shape
        assert apart([made.clamp(-1, 1)], [expected]) < 1e-5
    assert float(expected.std()) > 0.01


def test_nothing_in_it_has_a_third_dimension() -> None:
    """Channels-last layouts, and LoRA of PEFT, are of two."""
    _, still = both()
    assert not [n for n, m in still.named_modules() if isinstance(m, nn.Conv3d)]
    assert max(p.ndim for p in still.parameters()) == 4
    assert not [n for n, _ in still.named_parameters() if "time_conv" in n]
    still.to(memory_format=torch.channels_last)


def test_pictures_are_not_clamped() -> None:
    """A limit would end the gradients of what is outside; the video VAE has one."""
    _, still = both()
    with torch.no_grad():
        made = still.decode(torch.randn(1, 16, 4, 4) * 20).sample
    assert float(made.abs().max()) > 1


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_sit_on_every_convolution_of_the_encoder(checkpointing: bool) -> None:
    _, still = both()
    still.requires_grad_(False)
    still.encoder = lora.add(still.encoder, 2, QwenImage.encoder_targets, seed=0)
    if checkpointing:
        still.enable_gradient_checkpointing()
    still.decode(still.encode(picture(32, 32)).latent_dist.mode()).sample.mean().backward()
    named = dict(still.encoder.named_parameters())
    fresh = {n: p.grad for n, p in named.items() if "lora_B" in n}
    layers = [m for m in still.encoder.modules() if isinstance(m, nn.Conv2d)]
    assert len(fresh) * 3 == len(layers), "each with its A and B"
    assert [n for n, g in fresh.items() if g is None or not g.any()] == []


def test_checkpointing_changes_no_gradient() -> None:
    gradients = []
    for checkpointing in (False, True):
        _, still = both()
        if checkpointing:
            still.enable_gradient_checkpointing()
        still.decode(still.encode(picture(32, 32)).latent_dist.mode()).sample.mean().backward()
        gradients.append([p.grad for p in still.parameters() if p.grad is not None])
    assert apart(gradients[1], gradients[0]) < 1e-6


def test_its_benchmark_says_how_much_less_it_costs(capsys: pytest.CaptureFixture[str]) -> None:
    """Of networks so small nothing but that it runs: the bar is for the real size."""
    video, still = both()
    still_vae.compared(video, still, picture(32, 32, 1), repeats=1)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == [
        "3-D encoder", "2-D encoder", "3-D decoder", "2-D decoder",
    ]  # fmt: skip
    assert "32 px on cpu: " in lines[4]
    assert float(lines[4].split()[-1]) < 1e-4

"""Tiles as parts of the whole: with everything known of the whole, a tile is what the whole is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from omgsr.inference import tile_context
from omgsr.inference.tile_context import Context
from omgsr.inference.tiling import Box, Tiling, tiled
from tests.helpers import models


class Pointwise(nn.Module):
    """Nothing but 1 x 1 convolutions and norms: a tile has no border that it would feel."""

    def __init__(self, twice: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 5, 1)
        self.norm = nn.GroupNorm(4, 8)
        self.twice = twice
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).sin()
        return self.last(self.norm(x * 3 + 1) if self.twice else x)


class Attending(nn.Module):
    """Self-attention of an image as the UNet has it: over tokens, without position."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attention = Attention(query_dim=8, heads=2, dim_head=4)
        self.prompt = Attention(query_dim=8, cross_attention_dim=6, heads=2, dim_head=4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2) * 3
        tokens = tokens + self.attention(tokens)
        words = torch.ones(len(x), 2, 6)
        tokens = tokens + self.prompt(tokens, encoder_hidden_states=words)
        return tokens.transpose(1, 2).reshape(x.shape)


def vae_attention() -> nn.Module:
    """That of the VAE's middle: over an image, with a norm and a shortcut of its own."""
    torch.manual_seed(0)
    made = Attention(
        query_dim=8, heads=1, dim_head=8, norm_num_groups=4, residual_connection=True, bias=True
    )
    made.group_norm.weight.data.normal_()
    return made


def image(channels: int, height: int = 12, width: int = 20) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(1, channels, height, width, generator=rng)
    return x + torch.linspace(-3, 3, width)  # tiles that differ


def by_tiles(network: nn.Module, x: Tensor, small: Tensor, batch: int = 2) -> Tensor:
    """The network over tiles of 8, after a look at `small`."""
    known = Context(network)

    def function(tiles: Tensor, boxes: Sequence[Box]) -> Tensor:
        known.begin()
        known.place(boxes, *x.shape[2:])
        return network(tiles)

    with torch.inference_mode():
        with known.survey(*small.shape[2:]):
            known.begin()
            network(small)
        with known.applied():
            return tiled(function, x, Tiling(tile=8, overlap=2, step=2, batch=batch))


NETWORKS = {
    "norm": (Pointwise, 3),
    "norm used twice": (lambda: Pointwise(twice=True), 3),
    "attention": (Attending, 8),
    "attention of a VAE": (vae_attention, 8),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 4])
def test_with_the_whole_image_known_tiles_are_the_whole(name: str, batch: int) -> None:
    make, channels = NETWORKS[name]
    network, x = make(), image(channels)
    with torch.inference_mode():
        whole = network(x)
        alone = tiled(lambda t, _: network(t), x, Tiling(tile=8, overlap=2, step=2))
    torch.testing.assert_close(by_tiles(network, x, x, batch), whole, atol=1e-5, rtol=1e-4)
    assert float((alone - whole).abs().max()) > 0.05, "tiles on their own differ"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_reduced_image_is_nearly_as_good(name: str) -> None:
    make, channels = NETWORKS[name]
    network, x = make(), image(channels, 32, 48)
    x = nn.functional.avg_pool2d(x, 5, 1, 2)  # as smooth as an enlarged image is
    small = nn.functional.interpolate(x, (16, 24), mode="bicubic", antialias=True)
    with torch.inference_mode():
        whole = network(x)
        alone = tiled(lambda t, _: network(t), x, Tiling(tile=8, overlap=2, step=2))
    error = float((by_tiles(network, x, small) - whole).square().mean())
    assert error < 0.1 * float((alone - whole).square().mean())


@pytest.mark.parametrize("name", ["attention", "attention of a VAE"])
def test_a_sample_of_tokens_stands_for_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its logits count for as many tokens as it was drawn from."""
    make, channels = NETWORKS[name]
    network, x = make(), image(channels, 16, 32)
    with torch.inference_mode():
        whole = network(x)
        alone = tiled(lambda t, _: network(t), x, Tiling(tile=8, overlap=2, step=2))
    monkeypatch.setattr(tile_context, "TOKENS", 128)  # of 512
    error = float((by_tiles(network, x, x) - whole).square().mean())
    assert 0 < error < 0.25 * float((alone - whole).square().mean())


def test_attention_in_a_large_look_stays_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = Attending(), image(8, 16, 32)
    seen: list[int] = []
    network.attention.to_k.register_forward_hook(lambda _m, _i, out: seen.append(out.shape[1]))
    monkeypatch.setattr(tile_context, "SEEN", 100)
    known = Context(network)
    with torch.inference_mode(), known.survey(16, 32):
        known.begin()
        network(x)
    assert seen == [100]


def test_the_network_is_as_before_afterwards(tiny: Path) -> None:
    generator = models.generator(tiny, trained=0.1)
    denoiser = generator.backbone.denoiser
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    def predict() -> Tensor:
        with torch.inference_mode():
            return generator.backbone.predict(z, 273)

    before = predict()
    known = Context(denoiser)
    with known.survey(8, 8):
        known.begin()
        predict()
    with known.applied():
        known.begin()
        known.place([Box(top=0, left=0, height=4, width=4)], 8, 8)
        assert not torch.equal(predict(), before)
    with pytest.raises(ZeroDivisionError), known.applied():
        1 / 0  # noqa: B018
    assert torch.equal(predict(), before)
    for module in denoiser.modules():
        assert "forward" not in vars(module)
        assert not module._forward_pre_hooks


@pytest.mark.parametrize("part", ["encoder", "denoiser"])
def test_adapters_that_are_not_merged_take_part(tiny: Path, part: str) -> None:
    """PEFT wraps the networks; norms and attentions are found inside."""
    b = models.generator(tiny, trained=0.1).backbone
    network = b.denoiser if part == "denoiser" else b.vae.encoder
    known = Context(network)
    assert len(known._norms) > 3
    assert bool(known._attentions) == (part == "denoiser")

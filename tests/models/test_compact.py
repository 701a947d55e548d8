"""A frozen denoiser in 4 bits, in bf16 and off the GPU: what it gives, and what trains on it."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from omgsr.core import files
from omgsr.inference import benchmarks, placement
from omgsr.inference.restore import OneStep
from omgsr.method import lora, run_card
from omgsr.method.generator import Generator
from omgsr.method.settings import Precision
from omgsr.models import features
from omgsr.models.backbones import compact, from_folder
from omgsr.training import memory
from tests.helpers import flow_hub, flow_linked

T = 244
LQ = [np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)]


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("compact")
    return {kind: flow_linked.write(root, kind)[1] for kind in flow_hub.KINDS}


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_attention_and_feed_forward_are_in_blocks(linked: dict[str, Path], kind: str) -> None:
    """Of the real models these are nearly all weights; of a miniature embeddings are more."""
    denoiser = from_folder.load(linked[kind]).denoiser
    inside = {id(m) for block in compact.blocks(denoiser) for m in block.modules()}
    mine = re.compile(r"attn|attention|ff|feed_forward|mlp|mod\b")
    named = [(n, m) for n, m in denoiser.named_modules() if not n.startswith("t_embedder")]
    layers = {n: m for n, m in named if isinstance(m, nn.Linear)}
    assert [n for n, m in layers.items() if mine.search(n) and id(m) not in inside] == []
    assert sum(id(m) in inside for m in layers.values()) > 0.5 * len(layers)


def test_a_network_without_blocks_is_refused() -> None:
    network = nn.Linear(2, 2)
    network._no_split_modules = []  # type: ignore[assignment]
    with pytest.raises(ValueError, match="Linear does not say which of its blocks repeat"):
        compact.blocks(network)


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_four_bits_are_near_and_small(linked: dict[str, Path], kind: str) -> None:
    """NF4 rounds a weight of a normal distribution by some 9 % of its size, and so the output."""
    z = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    plain, small = from_folder.load(linked[kind]), from_folder.load(linked[kind], quantise="nf4")
    assert compact.quantised(small.denoiser)
    assert not compact.quantised(plain.denoiser)
    with torch.inference_mode():
        error = apart(small.predict(z, T), plain.predict(z, T))
    assert 1e-4 < error < 0.25
    whole = sum(p.numel() for block in compact.blocks(plain.denoiser) for p in block.parameters())
    layers = [m for m in small.denoiser.modules() if type(m).__name__ == "Linear4bit"]
    assert 2 * sum(m.weight.numel() for m in layers) > 0.5 * whole
    assert {m.weight.dtype for m in layers} == {torch.uint8}


def test_the_codes_are_the_same_at_every_load(linked: dict[str, Path]) -> None:
    first, second = (from_folder.load(linked["flux1-dev"], quantise="nf4") for _ in range(2))
    states = [one.denoiser.state_dict() for one in (first, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_card_decides_too(linked: dict[str, Path], tmp_path: Path) -> None:
    card = files.read_json(linked["flux1-dev"] / "foundation.json")
    folder = tmp_path / "foundation"
    folder.mkdir()
    for name in ("prompt.safetensors", "features"):
        (folder / name).symlink_to(linked["flux1-dev"] / name)
    files.write_json(folder / "foundation.json", card | {"quantise": "nf4"})
    assert compact.quantised(from_folder.load(folder).denoiser)


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_adapters_train_on_four_bits_and_reload(
    linked: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """QLoRA: gradients reach the adapters, the base stays, the saved run gives the same pixels."""
    generator = Generator(from_folder.load(linked[kind], quantise="nf4"), T)
    generator.add_adapters(2, 3, seed=0)
    network = features.load(linked[kind] / "features")
    precision = Precision(vae="fp32", denoiser="fp32", features="fp32", heads="fp32")
    memory.place(generator, network, torch.device("cpu"), precision, checkpointing=True)
    codes = {n: p.clone() for n, p in generator.named_parameters() if p.dtype == torch.uint8}
    assert codes
    x = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    own = lora.parameters(generator.backbone.denoiser)
    optimiser = torch.optim.AdamW(generator.adapter_parameters(), lr=1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        (generator(x)[0] - x).abs().mean().backward()
        optimiser.step()
    assert sum(p.grad is not None and bool(p.grad.any()) for p in own) > 0.7 * len(own)
    now = dict(generator.named_parameters())
    assert all(torch.equal(now[name], code) for name, code in codes.items())
    fields = {
        "variant": "full", "t": T, "t_source": "given", "losses": {"l1": 1.0}, "latent": "mode",
        "encoder_rank": 2, "unet_rank": 3, "steps": 1, "prompt": "", "seed": 0, "scale": 4,
        "foundation": files.read_json(linked[kind] / "foundation.json"),
    }  # fmt: skip
    run_card.save(generator, tmp_path, fields)
    again = benchmarks.merge(run_card.load(tmp_path, linked[kind], quantise="nf4")[0])
    assert compact.quantised(again.backbone.denoiser), "merged, it would be rounded once more"
    generator.requires_grad_(False)
    with torch.inference_mode():
        # The encoder's adapter is merged in one of them.
        torch.testing.assert_close(again(x)[0], generator(x)[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", flow_hub.KINDS)
def test_off_the_gpu_the_pictures_are_the_same(linked: dict[str, Path], kind: str) -> None:
    """Each layer is brought to where it computes and taken away; here both are the CPU."""
    cpu = torch.device("cpu")
    made = [
        OneStep(placement.place(Generator(from_folder.load(linked[kind]), T), cpu, offload))
        for offload in (False, True)
    ]
    first, second = (one(LQ, (64, 48))[0] for one in made)
    np.testing.assert_array_equal(first, second)


def test_a_base_is_read_in_the_type_it_computes_in(linked: dict[str, Path]) -> None:
    bf16 = from_folder.load(linked["flux1-dev"], placement.weights("bf16"))
    assert {p.dtype for p in bf16.denoiser.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in bf16.vae.parameters()} == {torch.float32}
    plain = from_folder.load(linked["flux1-dev"])
    for name, weight in plain.denoiser.state_dict().items():
        assert torch.equal(bf16.denoiser.state_dict()[name], weight.bfloat16()), name


def test_adapters_on_a_bf16_base_are_fp32(linked: dict[str, Path]) -> None:
    generator = Generator(from_folder.load(linked["flux1-dev"], torch.bfloat16), T)
    generator.add_adapters(2, 2, seed=0)
    assert {p.dtype for p in generator.adapter_parameters()} == {torch.float32}

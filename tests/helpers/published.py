"""Files as OSEDiff and PiSA-SR publish them, of random weights, with the models they were made of.

Everything is made as their training does: diffusers' add_adapter with the layers that the patterns
find, and torch.save of ranks, lists of layers and parts of the state dicts.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from peft import LoraConfig
from torch import nn

from omgsr.models import foundation
from omgsr.models.settings import Features
from tests.helpers import hub, models

BLOCKS = ("encoder", "decoder", "others")
_UNET = ("to_k", "to_q", "to_v", "to_out.0", "conv", "proj_out", "proj_in", "ff.net.2",
         "ff.net.0.proj")  # fmt: skip
_VAE = ("conv", "to_k", "to_q", "to_v", "to_out.0")


@dataclass
class Published:
    """A file and the networks with their adapters that it was made of."""

    file: Path
    held: dict[str, Any]
    unet: Any
    vae: Any


def write_foundation(root: Path, kind: str = "sd21-base", prompt: str = "") -> Path:
    """A foundation folder over the miniature of a hub model; returns it."""
    model = hub.write_hub_folder(root / "hub", kind)
    network = Features(name="convnext_atto", path=str(hub.write_convnext(root / "atto")))
    section = models.section(
        backbone=kind, source="folder", path=str(model), features=network, prompt=prompt,
        timestep_origin=1,
    )  # fmt: skip
    foundation.link(root / "foundation", model, section)
    return root / "foundation"


def osediff(model: Path, file: Path, rank: int = 4) -> Published:
    """osediff.pkl over the model in a hub folder."""
    unet, vae = _networks(model)
    lists, layers = unet_layers(unet), vae_layers(vae)
    for block in BLOCKS:
        _add(unet, f"default_{block}", lists[block], rank)
    _add(vae, "default_encoder", layers, rank)
    unet.set_adapter([f"default_{block}" for block in BLOCKS])
    _move(unet, ("lora", "conv_in"))
    _move(vae, ("lora",))
    state = unet.state_dict()
    held = {
        "vae_lora_encoder_modules": layers,
        **{f"unet_lora_{block}_modules": lists[block] for block in BLOCKS},
        "rank_unet": rank,
        "rank_vae": rank,
        "state_dict_unet": {k: v for k, v in state.items() if "lora" in k or "conv_in" in k},
        "state_dict_vae": {k: v for k, v in vae.state_dict().items() if "lora" in k},
    }
    torch.save(held, file)
    return Published(file, held, unet, vae)


def pisasr(model: Path, file: Path, rank: int = 4) -> Published:
    """pisa_sr.pkl over the model in a hub folder."""
    unet, vae = _networks(model)
    lists = unet_layers(unet)
    for kind in ("pix", "sem"):
        for block in BLOCKS:
            _add(unet, f"default_{block}_{kind}", lists[block], rank)
    _move(unet, ("lora",))
    held = {
        **{f"unet_lora_{b}_modules_{k}": lists[b] for k in ("pix", "sem") for b in BLOCKS},
        "lora_rank_unet_pix": rank,
        "lora_rank_unet_sem": rank,
        "state_dict_unet": {k: v for k, v in unet.state_dict().items() if "lora" in k},
    }
    torch.save(held, file)
    return Published(file, held, unet, vae)


def unet_layers(unet: nn.Module) -> dict[str, list[str]]:
    """Layers of the three adapters."""
    found: dict[str, list[str]] = {block: [] for block in BLOCKS}
    for name in _weights(unet, _UNET):
        down = "down_blocks" in name or "conv_in" in name
        up = "up_blocks" in name or "conv_out" in name
        found["encoder" if down else "decoder" if up else "others"].append(name)
    return found


def vae_layers(vae: nn.Module) -> list[str]:
    """Layers of the VAE's encoder, and quant_conv, several times each as in their file."""
    names = _weights(vae, _VAE)
    return [n for n in names if "encoder" in n or n == "quant_conv" for _ in range(2)]


def _weights(module: nn.Module, patterns: tuple[str, ...]) -> list[str]:
    names = [n.removesuffix(".weight") for n, _ in module.named_parameters()]
    return [
        n
        for n in names
        if not n.endswith("bias") and "norm" not in n and any(p in n for p in patterns)
    ]


def _networks(model: Path) -> tuple[Any, Any]:
    unet = UNet2DConditionModel.from_pretrained(model / "unet").eval().requires_grad_(False)
    vae = AutoencoderKL.from_pretrained(model / "vae").eval().requires_grad_(False)
    return unet, vae


def _add(module: Any, name: str, layers: list[str], rank: int) -> None:
    config = LoraConfig(r=rank, init_lora_weights="gaussian", target_modules=layers)
    with warnings.catch_warnings():  # PEFT's, of several adapters: so they are published
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
        module.add_adapter(config, adapter_name=name)


def _move(module: nn.Module, parts: tuple[str, ...]) -> None:
    """Random weights, as after a training, where a name holds one of the parts."""
    rng = torch.Generator().manual_seed(0)
    for name, parameter in module.named_parameters():
        if any(part in name for part in parts):
            noise = torch.randn(parameter.shape, generator=rng)
            parameter.data = parameter.data + 0.05 * noise

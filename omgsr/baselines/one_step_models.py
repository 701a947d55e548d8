"""OSEDiff and PiSA-SR on a foundation of SD2.1-base, as generators of this project.

OSEDiff (Wu et al., 2024) is Eq. 7 at the last timestep, t = 999 counted from 0:

    z_L = E_lora(x_L),    z_P = (z_L - noise_t * eps_lora(z_L, t, c)) / signal_t,    x_P = D(z_P)

PiSA-SR (Sun et al., 2025) takes the denoiser's output at t = 1 for the whole residual, as a sum of
what the pixel adapter gives and what the semantic adapter adds to it:

    z_P = z_L - [l_pix * eps_pix + l_sem * (eps_pix+sem - eps_pix)],    eps_* at (z_L, t, c)

With l_pix = l_sem = 1, its default, that is one evaluation with both adapters.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn

from omgsr.baselines import conversion
from omgsr.baselines.conversion import BASE, CARD, Card, ConversionError
from omgsr.baselines.published_layouts import PIX, SEM, UNET, VAE
from omgsr.core import files
from omgsr.core.fingerprint import sha256
from omgsr.core.settings import ConfigError, parse
from omgsr.method import adapter_files, lora
from omgsr.method.generator import Generator
from omgsr.method.lora import merged
from omgsr.models import prompt
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone, Latent


class Guided(nn.Module):
    """A UNet with the semantic adapter, as a denoiser that weighs it against its absence."""

    def __init__(self, model: PeftModel, lambda_pix: float, lambda_sem: float) -> None:
        super().__init__()
        self.model = model
        self.weights = (lambda_pix, lambda_sem)

    @property
    def config(self) -> Any:
        """The UNet's own."""
        return self.model.get_base_model().config

    def forward(self, z: Tensor, t: int, encoder_hidden_states: Tensor) -> UNet2DConditionOutput:
        """l_pix * eps_pix + l_sem * (eps_pix+sem - eps_pix): (B, C, h, w) => the same."""
        both = self.model(z, t, encoder_hidden_states=encoder_hidden_states).sample
        with lora.disabled(self.model):
            pix = self.model(z, t, encoder_hidden_states=encoder_hidden_states).sample
        l_pix, l_sem = self.weights
        return UNet2DConditionOutput(sample=l_pix * pix + l_sem * (both - pix))


def load(
    kind: str,
    path: Path | str,
    foundation: Path | str,
    *,
    latent: Latent = "mode",
    text: str | None = None,
    lambda_pix: float = 1.0,
    lambda_sem: float = 1.0,
) -> Generator:
    """The generator of a converted folder, or of a published .pkl, which is converted on the way.

    Adapters are merged into the weights. `text` is another prompt than the foundation's. Raises
    ConversionError, RunError or AdapterError when the file, the foundation and `kind` do not fit.
    """
    path, foundation = Path(path), Path(foundation)
    if path.is_file():
        with TemporaryDirectory() as folder:
            conversion.convert(path, Path(folder) / kind)
            return load(
                kind, Path(folder) / kind, foundation, latent=latent, text=text,
                lambda_pix=lambda_pix, lambda_sem=lambda_sem,
            )  # fmt: skip
    card = read_card(path)
    if card.method != kind:
        raise ConversionError(f"{path}: holds {card.method}, not {kind}; change one of the two")
    backbone = _backbone(foundation, text)
    equip: dict[str, Callable[[Backbone, Path], None]] = {
        "osediff": _osediff,
        "pisasr": partial(_pisasr, weights=(lambda_pix, lambda_sem)),
    }
    equip[kind](backbone, path)
    generator = Generator(backbone, card.t + backbone.schedule.origin, latent)
    return generator.requires_grad_(False).eval()


def read_card(folder: Path) -> Card:
    """The card of a converted folder, whose weights are checked against it."""
    if not (folder / CARD).is_file():
        raise ConversionError(
            f"{folder}: no {CARD}; `omgsr convert FILE -o DIR` makes the folder of a published file"
        )
    try:
        card = parse(Card, files.read_json(folder / CARD), f"{folder / CARD}")
    except ConfigError as error:
        raise ConversionError(f"{error}; convert the published file again") from error
    for name, digest in card.weights.items():
        if sha256(folder / name) != digest:
            raise ConversionError(f"{folder / name}: not the file of its card; convert it again")
    return card


def _backbone(foundation: Path, text: str | None) -> Backbone:
    backbone = from_folder.load(foundation)
    if backbone.schedule.prediction != "epsilon":
        raise ConversionError(
            f"{foundation}: predicts {backbone.schedule.prediction}, but these adapters are made "
            "for SD2.1-base, which predicts epsilon; use foundation.backbone: sd21-base"
        )
    if text is not None:
        model = foundation / files.read_json(foundation / "foundation.json")["path"]
        if not (model / "text_encoder" / "config.json").is_file():
            raise ConversionError(
                f"{model}: has no text_encoder/ to embed a prompt with; leave `prompt` out"
            )
        backbone.prompt = prompt.embed(model, text).to(backbone.prompt)
    return backbone


def _osediff(backbone: Backbone, folder: Path) -> None:
    """LoRA in the VAE's encoder and quant_conv and in the UNet, whose conv_in is replaced."""
    backbone.vae = merged(adapter_files.load(backbone.vae, folder / VAE))
    state = load_file(folder / BASE)
    for name, value in state.items():
        layer, kind = name.rsplit(".", 1)
        parameter = backbone.denoiser.get_submodule(layer).get_parameter(kind)
        if parameter.shape != value.shape:
            raise ConversionError(
                f"{folder / BASE}: {name} is {tuple(value.shape)}, here it is "
                f"{tuple(parameter.shape)}; use a foundation of SD2.1-base"
            )
        with torch.no_grad():
            parameter.copy_(value)
    backbone.denoiser = merged(adapter_files.load(backbone.denoiser, folder / UNET))


def _pisasr(backbone: Backbone, folder: Path, weights: tuple[float, float]) -> None:
    """LoRA in the UNet alone; z_P = z_L - output is the formula of flow matching with noise 1."""
    unet = merged(adapter_files.load(backbone.denoiser, folder / PIX))
    if weights == (1.0, 1.0):
        backbone.denoiser = merged(adapter_files.load(unet, folder / SEM))
    else:
        backbone.denoiser = Guided(adapter_files.load(unet, folder / SEM), *weights)
    schedule = backbone.schedule
    ones = torch.ones_like(schedule.noise)
    backbone.schedule = replace(schedule, noise=ones, prediction="flow")

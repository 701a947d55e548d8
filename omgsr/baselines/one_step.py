"""OSEDiff and PiSA-SR on a foundation of SD2.1-base: their generators in OMGSR's restoration.

OSEDiff (Wu et al., 2024) is Eq. 7 at the last timestep, t = 999 counted from 0:

    z_L = E_lora(x_L),    z_P = (z_L - noise_t * eps_lora(z_L, t, c)) / signal_t,    x_P = D(z_P)

PiSA-SR (Sun et al., 2025) takes the denoiser's output at t = 1 for the whole residual, as a sum of
what the pixel adapter gives and what the semantic adapter adds to it:

    z_P = z_L - [l_pix * eps_pix + l_sem * (eps_pix+sem - eps_pix)],    eps_* at (z_L, t, c)

With l_pix = l_sem = 1, its default, that is one evaluation with both adapters.
"""

from dataclasses import replace
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
from omgsr.inference.restore import OneStep
from omgsr.method import adapter_files, lora
from omgsr.method.generator import Generator
from omgsr.method.lora import merged
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone, Latent
from omgsr.models.prompt import embed

_OPTIONS = ("latent", "prompt", "lambda_pix", "lambda_sem")


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
    kind: str, path: Path | str, foundation: Path | str, *, device: Any, **given: Any
) -> OneStep:
    """The method of a converted folder, or of a published .pkl, on a foundation of SD2.1-base.

    `given` are options of `generator` and of OneStep.
    """
    own = {name: given.pop(name) for name in _OPTIONS if name in given}
    method = OneStep(generator(kind, path, foundation, **own).to(device), **given)
    text, latent = own.get("prompt"), own.get("latent", "mode")
    method.notes += _notes(kind, Path(foundation), text, latent)
    return method


def generator(
    kind: str,
    path: Path | str,
    foundation: Path | str,
    *,
    latent: Latent = "mode",
    prompt: str | None = None,
    lambda_pix: float = 1.0,
    lambda_sem: float = 1.0,
) -> Generator:
    """The generator of a converted folder, or of a published .pkl, which is converted on the way.

    Adapters are merged into the weights. `prompt` is another than the foundation's. Raises
    ConversionError, RunError or AdapterError when the file, the foundation and `kind` do not fit.
    """
    folder, foundation = Path(path), Path(foundation)
    with TemporaryDirectory() as temporary:
        if folder.is_file():
            folder = Path(temporary, kind)
            conversion.convert(path, folder)
        card = read_card(folder)
        if card.method != kind:
            held = card.method
            raise ConversionError(f"{folder}: holds {held}, not {kind}; change one of the two")
        backbone = _backbone(foundation, prompt)
        if kind == "osediff":
            _osediff(backbone, folder)
        else:
            _pisasr(backbone, folder, (lambda_pix, lambda_sem))
    made = Generator(backbone, card.t + backbone.schedule.origin, latent)
    return made.requires_grad_(False).eval()


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
        backbone.prompt = embed(model, text)
    return backbone


def _osediff(backbone: Backbone, folder: Path) -> None:
    """LoRA in the VAE's encoder and quant_conv and in the UNet, whose conv_in is replaced."""
    backbone.vae = merged(adapter_files.load(backbone.vae, folder / VAE))
    try:
        backbone.denoiser.load_state_dict(load_file(folder / BASE), strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip("\t .")
        raise ConversionError(
            f"{folder / BASE}: {reason}; use a foundation of SD2.1-base"
        ) from error
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


def _notes(kind: str, foundation: Path, text: str | None, latent: str) -> list[str]:
    """Where a method departs from its authors' program."""
    card = files.read_json(foundation / "foundation.json")
    used, found = card["prompt"] if text is None else text, []
    if kind == "osediff":
        found.append(
            f"osediff: the prompt {used!r} for every image; its own program takes the tags that "
            "RAM finds in the image"
        )
    elif used:
        found.append(f"{kind}: the prompt {used!r}; its own program uses an empty one")
    if latent == "mode":
        found.append(f"{kind}: latents are modes; its own program draws samples without a seed")
    return found

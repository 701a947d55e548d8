"""What the published files of OSEDiff and PiSA-SR hold, as data.

Both are dicts of torch.save: ranks, lists of the adapted layers, and state dicts with the matrices
under diffusers' names, such as up_blocks.1.resnets.0.conv1.lora_A.default_decoder.weight.
"""

from pathlib import Path

from omgsr.core import files
from omgsr.core.settings import parse, section

ALPHA = 8
"""PEFT's default of lora_alpha, which both projects leave as it is: the scale is 8 / rank."""


@section
class Part:
    """One adapter of a published file; PEFT spread it over several names of disjoint layers."""

    folder: str
    """Where it is written."""
    rank: str
    """Key of its rank."""
    modules: tuple[str, ...]
    """Keys of the lists of its layers."""
    state: str
    """Key of the state dict that it is in."""
    names: tuple[str, ...]
    """Names of its adapters in the keys of that state dict."""


@section
class Layout:
    """What a method's published file holds, and the timestep it is made for."""

    method: str
    """Kind, as in params.yaml."""
    t: int
    """Index into the scheduler's alphas_cumprod, from 0."""
    parts: tuple[Part, ...]
    whole: bool
    """Whether the UNet's conv_in was trained as a whole and is in the file."""


VAE, UNET, PIX, SEM = (f"{n}_lora_adapter" for n in ("vae", "unet", "unet_pix", "unet_sem"))
_FILE = Path(__file__).with_name("published_layouts.json")
LAYOUTS = parse(tuple[Layout, ...], files.read_json(_FILE), _FILE.name)

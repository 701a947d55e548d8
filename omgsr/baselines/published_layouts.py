"""What the published files of OSEDiff and PiSA-SR hold, as data.

Both are dicts of torch.save: ranks, lists of the adapted layers, and state dicts with the matrices
under diffusers' names, such as up_blocks.1.resnets.0.conv1.lora_A.default_decoder.weight.
"""

from dataclasses import dataclass

ALPHA = 8
"""PEFT's default of lora_alpha, which both projects leave as it is: the scale is 8 / rank."""


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a method's published file holds, and the timestep it is made for."""

    method: str
    """Kind, as in params.yaml."""
    t: int
    """Index into the scheduler's alphas_cumprod, from 0."""
    parts: tuple[Part, ...]
    """Its adapters."""
    whole: bool
    """Whether the UNet's conv_in was trained as a whole and is in the file."""


def _unet(rank: str, folder: str, suffix: str = "") -> Part:
    blocks = ("encoder", "decoder", "others")
    return Part(
        folder=folder,
        rank=rank,
        modules=tuple(f"unet_lora_{block}_modules{suffix}" for block in blocks),
        state="state_dict_unet",
        names=tuple(f"default_{block}{suffix}" for block in blocks),
    )


VAE, UNET, PIX, SEM = (f"{n}_lora_adapter" for n in ("vae", "unet", "unet_pix", "unet_sem"))
LAYOUTS = {
    "osediff": Layout(
        method="osediff",
        t=999,
        parts=(
            Part(
                folder=VAE,
                rank="rank_vae",
                modules=("vae_lora_encoder_modules",),
                state="state_dict_vae",
                names=("default_encoder",),
            ),
            _unet("rank_unet", UNET),
        ),
        whole=True,
    ),
    "pisasr": Layout(
        method="pisasr",
        t=1,
        parts=(_unet("lora_rank_unet_pix", PIX, "_pix"), _unet("lora_rank_unet_sem", SEM, "_sem")),
        whole=False,
    ),
}

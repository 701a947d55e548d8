"""The pre-trained models that `foundation.backbone` can name: where they are, what they must be.

Prediction type, noise schedule and latent scale are always read from the checkpoint. What is listed
in catalogue.json only tells whether the checkpoint is the one that was asked for.
"""

from pathlib import Path
from typing import Any

from omgsr.core import files
from omgsr.models.model_folder import configurations

ANY = "sd"
"""Any other model of the same classes, AutoencoderKL and UNet2DConditionModel: unchecked."""
FILES = (
    "*/*.json", "*/*.txt", "*/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
)  # fmt: skip
"""What of a hub repository is needed: no pickles, no half-precision and no non-EMA copies."""
_MORE = (
    "*/*.jinja", "*/spiece.model", "*/diffusion_pytorch_model-*-of-*.safetensors",
    "text_encoder*/model.safetensors", "text_encoder*/model-*-of-*.safetensors",
)  # fmt: skip
"""The same of a transformer: several text encoders, weights in shards."""
_DEFAULTS: dict[str, dict[str, object]] = {
    "unet": {"cross_attention_dim": 1280, "in_channels": 4},
    "transformer": {
        "_class_name": None, "in_channels": 16, "guidance_embeds": False, "qk_norm": None,
        "dual_attention_layers": (),
    },
}  # fmt: skip
"""What tells one denoiser from another; values are what diffusers takes where a file is silent."""
_VAE: dict[str, dict[str, object]] = {
    "unet": {"latent_channels": 4, "scaling_factor": 0.18215},
    "transformer": {"latent_channels": None, "scaling_factor": 0.18215, "z_dim": None},
}
"""The same of the VAE beside it."""
KNOWN: dict[str, dict[str, Any]] = files.read_json(Path(__file__).with_suffix(".json"))
"""Name => `hub`: its ids, the first of them in the command; `licence`: terms of the weights;
`expects`: values of `settings` that tell it from the others; `elsewhere`: further places."""


def settings(folder: Path) -> dict[str, object]:
    """What a model folder says of itself; absent keys have the value that diffusers gives them.

    Raises FileNotFoundError for a configuration that is missing.
    """
    denoiser = next((d for d in _DEFAULTS if (folder / d / "config.json").is_file()), "unet")
    scheduler, vae, network = map(files.read_json, configurations(folder, denoiser))
    found = {key: network.get(key, default) for key, default in _DEFAULTS[denoiser].items()}
    found |= {key: vae.get(key, default) for key, default in _VAE[denoiser].items()}
    if denoiser == "unet":
        return found | {"prediction_type": scheduler.get("prediction_type", "epsilon")}
    found["dual_attention_layers"] = bool(found["dual_attention_layers"])
    found["scheduler"] = scheduler.get("_class_name")
    return {"transformer": found.pop("_class_name"), **found}


def patterns(name: str) -> tuple[str, ...]:
    """Of the files that a model needs in its hub repository."""
    large = "transformer" in KNOWN.get(name, {}).get("expects", {})
    return (*FILES, *_MORE) if large else FILES


def check(name: str, folder: Path) -> None:
    """Refuses a model folder that contradicts the backbone's name, saying which one it looks like.

    `sd` accepts every folder. Raises ValueError.
    """
    if name == ANY:
        return
    found, wanted = settings(folder), KNOWN[name]["expects"]
    wrong = [
        f"{k} is {found[k]}, not {v}" if k in found else f"it has no {k}"
        for k, v in wanted.items()
        if found.get(k) != v
    ]
    if wrong:
        fits = [n for n, known in KNOWN.items() if known["expects"].items() <= found.items()]
        looks = f"this looks like {fits[0]}" if fits else "this is none of the known models"
        raise ValueError(
            f"foundation.backbone: {name} is asked for, but {looks} ({'; '.join(wrong)}): "
            f"{folder}. Set foundation.backbone: {fits[0] if fits else ANY}, or correct "
            "foundation.path"
        )


def obtain(name: str) -> str:
    """How to get a backbone's weights, where to put them, and their terms; one paragraph."""
    if name == ANY:
        return (
            "`sd` is any Stable Diffusion model in diffusers layout: download its folders vae, "
            "unet, scheduler, tokenizer and text_encoder (safetensors) and set foundation.path"
        )
    hub, licence = KNOWN[name]["hub"], KNOWN[name]["licence"]
    if not hub:
        return "set foundation.source: shipped, which needs no download"
    included = " ".join(f'--include "{pattern}"' for pattern in patterns(name))
    command = f"hf download {hub[0]} {included} --local-dir weights/{name}"
    places = [f"the same files are in {other}" for other in hub[1:]]
    if "elsewhere" in KNOWN[name]:
        places.append(KNOWN[name]["elsewhere"])
    return "; ".join(
        [
            f"get it by `{command}` and set foundation.path: weights/{name}",
            *places,
            f"if it asks for access, accept its terms on its page and run `hf auth login` "
            f"(licence: {licence})",
        ]
    )

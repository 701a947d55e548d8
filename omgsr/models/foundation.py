"""The foundation folder: where the pre-trained model is, its one prompt, the feature network.

foundation/foundation.json       backbone, source, path, revision, prompt, schedule, sha256
foundation/prompt.safetensors    embedding of the prompt, so that no text encoder is loaded again
foundation/prompt.json           what it was made from, if a text encoder made it or it was given
foundation/features/             feature network of Dv3CD and the discriminator
foundation/model/                weights, where they are small; else `path` says where they are
"""

import shutil
from pathlib import Path

from omgsr.core import files
from omgsr.models import (
    catalogue,
    feature_sources,
    feature_weights,
    features,
    model_folder,
    prompt,
    small_networks,
)
from omgsr.models.backbones.from_folder import FAMILIES
from omgsr.models.settings import Foundation

_SHARDS = ["*/diffusion_pytorch_model-*-of-*.safetensors", "text_*/model-*-of-*.safetensors"]


def ship(out: Path, settings: Foundation) -> None:
    """Copies the small model that the package carries (omgsr/assets/mini, mini_flow)."""
    require_no_prompt(settings)
    home = small_networks.ASSETS / shipped(settings)
    copy_shared("model/vae", out)
    feature_sources.ship(settings.features, out / "features")
    shutil.copytree(home / "model", out / "model", dirs_exist_ok=True)
    shutil.copyfile(home / prompt.EMBEDDING, out / prompt.EMBEDDING)
    write_card(out, Path("model"), settings)


def shipped(settings: Foundation) -> str:
    """Folder of the backbone below omgsr/assets."""
    return settings.backbone if settings.backbone in small_networks.PROMPTS else "mini"


def copy_shared(part: str, out: Path) -> None:
    """What both small models have in common."""
    shutil.copytree(small_networks.MINI / part, out / part, dirs_exist_ok=True)


def require_no_prompt(settings: Foundation) -> None:
    """Refuses a text that would have no effect: the small model has one fixed embedding."""
    if settings.prompt:
        raise ValueError(
            f"foundation.prompt: got {settings.prompt!r}, but the small model has no text encoder "
            'and one fixed prompt; set it to ""'
        )


def link(out: Path, folder: Path, settings: Foundation, prompts: Path | None = None) -> None:
    """Describes a model that stays where it is: a local folder in the hub's layout.

    The prompt is embedded once, with the model's own tokenizers and text encoders, and kept in the
    folder `prompts`; a ready embedding (`foundation.prompt_file`) needs none of them. Raises
    FileNotFoundError or ValueError that says what is missing or wrong in the model folder, and
    where to get it.
    """
    obtain = settings.obtain or catalogue.obtain(settings.backbone)
    if not folder.is_dir():
        raise FileNotFoundError(f"foundation.path: {folder} is no folder; {obtain}")
    family = FAMILIES[settings.backbone]
    try:
        catalogue.check(settings.backbone, folder)
        model_folder.parts(folder, family.denoiser_folder)
        family.card_fields(folder, settings.timestep_origin, settings.resolution)
        if settings.prompt_file is None:
            prompt.write(folder, settings.prompt, out, prompts, family.embedding)
        else:
            prompt.take(Path(settings.prompt_file), out, family.embedding)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"foundation.path: {error}; {obtain}") from error
    feature_sources.fetch(settings.features, out / "features")
    write_card(out, folder.resolve(), settings)


def download(settings: Foundation) -> Path:
    """The local snapshot of a hub id at its pinned revision, downloaded if it is not there."""
    from huggingface_hub import snapshot_download

    try:
        wanted = [*catalogue.patterns(settings.backbone), *_SHARDS]
        return Path(
            snapshot_download(str(settings.path), revision=settings.revision, allow_patterns=wanted)
        )
    except Exception as error:  # of many kinds: no network, no such id or revision, no access
        raise FileNotFoundError(
            f"foundation.path: {settings.path} at {settings.revision} could not be had from the "
            f"hub ({feature_weights.summary(error)}). Download it elsewhere and set "
            f"foundation.source: folder; {settings.obtain or catalogue.obtain(settings.backbone)}"
        ) from error


def write_card(out: Path, model: Path, settings: Foundation) -> None:
    """foundation.json: what was resolved, with the sha256 of everything that is computed with.

    Raises FileNotFoundError for a missing part of the model, ValueError when the model is not the
    backbone of the settings.
    """
    catalogue.check(settings.backbone, out / model)
    family, origin = FAMILIES[settings.backbone], settings.timestep_origin
    card = {
        "backbone": settings.backbone,
        "source": settings.source,
        "model": settings.path or shipped(settings),
        "path": str(model),
        "revision": settings.revision,
        "prompt": settings.prompt,
        "timestep_origin": origin,
        **family.card_fields(out / model, origin, settings.resolution),
        **({"quantise": settings.quantise} if settings.quantise else {}),
        "features": features.describe(out / "features"),
    }
    embedding = out / prompt.EMBEDDING
    card["sha256"] = model_folder.digest(out / model, family.denoiser_folder, embedding, card)
    files.write_json(out / "foundation.json", card)

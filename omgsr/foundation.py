"""The foundation folder: where the pre-trained model is, its one prompt, the feature network.

foundation/foundation.json       backbone, source, path, revision, prompt, sha256
foundation/prompt.safetensors    embedding of the prompt, so that no text encoder is loaded again
foundation/features/             ConvNeXt of Dv3CD and the discriminator
foundation/model/                weights, where they are small; else `path` says where they are
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from importlib.resources import as_file
from importlib.resources import files as resources
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from omgsr import features, files, pretraining, seeding
from omgsr.dead_leaves import dead_leaves
from omgsr.sections import Foundation, FoundationTraining

Progress = Iterator[tuple[str, int, float]]
_PARTS = ("vae", "unet", "scheduler", "tokenizer", "text_encoder")
_WEIGHTS = ("vae/diffusion_pytorch_model", "unet/diffusion_pytorch_model")


def ship(out: Path, settings: Foundation) -> None:
    """Copies the small model that the package carries (omgsr/assets/mini)."""
    with as_file(resources("omgsr") / "assets" / "mini") as assets:
        for part in ("model", "features"):
            shutil.copytree(assets / part, out / part, dirs_exist_ok=True)
        shutil.copyfile(assets / "prompt.safetensors", out / "prompt.safetensors")
    write_card(out, Path("model"), settings)


def train(out: Path, photographs: list[np.ndarray], settings: Foundation, seed: int) -> Progress:
    """Trains the small model from random weights; yields (network, step, loss)."""
    plan = settings.training
    if plan is None:
        raise ValueError("foundation.training is null, but source: train needs it")
    if plan.image_size % 32:  # the stride of the ConvNeXt
        raise ValueError(
            f"foundation.training.image_size must be a multiple of 32, got {plan.image_size}"
        )
    leaves = [
        dead_leaves(seeding.rng(seed, "foundation", "leaves", i), 256, 256)
        for i in range(plan.dead_leaves)
    ]
    pool = pretraining.CropPool(photographs + leaves, plan.image_size)
    yield from _train_networks(out, pool, plan, seed)
    write_card(out, Path("model"), settings)


def _train_networks(
    out: Path, pool: pretraining.CropPool, plan: FoundationTraining, seed: int
) -> Progress:
    def rng(name: str) -> np.random.Generator:
        torch.manual_seed(seeding.derive(seed, "foundation", name))  # fresh weights, this process
        return seeding.rng(seed, "foundation", name)

    draws = rng("vae")
    vae = pretraining.small_vae()
    run = pretraining.train_vae(vae, pool, draws, plan.vae_steps, plan.vae_batch, plan.vae_lr)
    yield from (("autoencoder", *item) for item in run)
    vae.half().save_pretrained(out / "model" / "vae")

    draws = rng("unet")
    unet = pretraining.small_unet()
    prompt = torch.randn(pretraining.PROMPT_SHAPE)
    run = pretraining.train_unet(
        unet, vae.float(), prompt, pool, draws, plan.unet_steps, plan.unet_batch, plan.unet_lr
    )
    yield from (("denoiser", *item) for item in run)
    unet.half().save_pretrained(out / "model" / "unet")
    pretraining.sd_scheduler().save_pretrained(out / "model" / "scheduler")
    save_file({"prompt": prompt}, out / "prompt.safetensors")

    draws = rng("features")
    convnext = pretraining.small_features()
    run = pretraining.train_features(
        convnext, pool, draws, plan.feature_steps, plan.feature_batch, plan.feature_lr
    )
    yield from (("features", *item) for item in run)
    features.save(convnext, out / "features", pretraining.FEATURES)


def link(out: Path, folder: Path, settings: Foundation) -> None:
    """Describes a model that stays where it is: a local folder in the hub's layout.

    The prompt is embedded once, with the model's own tokenizer and text encoder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(
            f"foundation.path: {folder} is no folder; {settings.obtain or 'correct the path'}"
        )
    out.mkdir(parents=True, exist_ok=True)
    save_file({"prompt": _embed(folder, settings.prompt)}, out / "prompt.safetensors")
    features.fetch(settings.features.name, settings.features.path, out / "features")
    write_card(out, folder.resolve(), settings)


def download(settings: Foundation) -> Path:
    """The local snapshot of a hub id at its pinned revision, downloaded if it is not there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                str(settings.path),
                revision=settings.revision,
                allow_patterns=[f"{part}/*" for part in _PARTS],
                ignore_patterns=["*.bin", "*.ckpt", "*.fp16.*", "*.msgpack"],
            )
        )
    except Exception as error:
        raise FileNotFoundError(
            f"foundation.path: {settings.path} at {settings.revision} could not be had from the "
            f"hub ({type(error).__name__}: {error}). Download it elsewhere and set "
            f"foundation.source: folder with its path. {settings.obtain}"
        ) from error


def write_card(out: Path, model: Path, settings: Foundation) -> None:
    """foundation.json: what was resolved, with the sha256 of everything that is computed with."""
    card = {
        "backbone": settings.backbone,
        "source": settings.source,
        "model": settings.path or "mini",
        "path": str(model),
        "revision": settings.revision,
        "prompt": settings.prompt,
        "features": features.describe(out / "features"),
        "sha256": _sha256(out, out / model),
    }
    files.write_json(out / "foundation.json", card)


def _sha256(out: Path, model: Path) -> str:
    """One hash over configurations (latent scale, schedule), prompt and weights, in this order."""
    configs = ("scheduler/scheduler_config.json", "vae/config.json", "unet/config.json")
    names = [*(model / name for name in configs), out / "prompt.safetensors"]
    for stem in _WEIGHTS:
        names += sorted(model.glob(f"{stem}*.safetensors")) or [model / f"{stem}.safetensors"]
    digest = hashlib.sha256()
    for path in names:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing; a model folder holds configurations and safetensors weights"
            )
        with open(path, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()


@torch.inference_mode()
def _embed(folder: Path, prompt: str) -> torch.Tensor:
    """(1, tokens, width) from the folder's CLIP text encoder."""
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", local_files_only=True)
    tokens = tokenizer(
        prompt,
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    return encoder(tokens.input_ids)[0].float().contiguous()

"""Stage `foundation`: the pre-trained model => foundation/ (see omgsr/models/foundation.py).

Prompt embeddings are kept in $DVC_ROOT/work/prompts, because DVC deletes a stage's outputs before
it runs: another timestep origin or feature network embeds nothing again.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from omgsr import config
from omgsr.core import fingerprint, images, workdir
from omgsr.data import photographs, wallpapers
from omgsr.models import foundation, small_foundation, small_networks
from omgsr.models.settings import Foundation
from stages import call, workspace

OUT = Path("foundation")


def train(settings: config.Config) -> None:
    """Trains the small model on photographs, those of data.train among them, and dead leaves.

    Checkpoints are in $DVC_ROOT/work/foundation-<hash of all inputs>: a killed one goes on.
    """
    plan = settings.foundation.training
    if settings.exact:
        torch.set_num_threads(1)  # the number of cores is no part of the weights
    totals = {}
    if plan:
        counts = (plan.vae_steps, plan.denoiser_steps, plan.feature_steps)
        totals = dict(zip(("autoencoder", "denoiser", "features"), counts, strict=True))
    found = [photographs.locate(name) for name in settings.data.train.photographs]
    more = wallpapers.locate(workspace() / plan.photographs) if plan and plan.photographs else {}
    inputs = [repr(settings.foundation), str(settings.seed), str(settings.exact)]
    inputs += [fingerprint.sha256(path) for path in (*found, *more.values())]
    inputs += [fingerprint.sha256(path) for path in sorted(small_networks.ASSETS.rglob("*.safe*"))]
    key = fingerprint.work_name(("core", "data", "models"), ("torch", "diffusers"), inputs)
    work = workspace() / "work" / f"foundation-{key}"
    pictures = [images.read_rgb(path) for path in found]
    pictures += [wallpapers.read(path) for path in more.values()]
    with workdir.exclusive(work), tqdm(unit="step") as bar:
        steps = small_foundation.train(OUT, pictures, settings.foundation, settings.seed, work)
        for network, step, loss in steps:
            bar.total, bar.n = totals[network], step
            bar.set_description(f"{network} loss {loss:.4f}", refresh=False)
            bar.update(0)
        shutil.rmtree(work)


def located(section: Foundation, root: Path) -> Foundation:
    """The section with its files below `root`, as the user means them."""
    if section.features.path is not None:
        weights = replace(section.features, path=str(root / section.features.path))
        section = replace(section, features=weights)
    if section.prompt_file is None:
        return section
    return replace(section, prompt_file=str(root / section.prompt_file))


def main() -> None:
    """Resolves foundation.source."""
    settings = config.load()
    plan, root = settings.foundation, workspace()
    shutil.rmtree(OUT, ignore_errors=True)
    if plan.source == "shipped":
        foundation.ship(OUT, plan)
    elif plan.source == "train":
        train(settings)
    else:
        here = plan.source == "folder"
        folder = root / str(plan.path) if here else foundation.download(plan)
        foundation.link(OUT, folder, located(plan, root), root / "work" / "prompts")
    print(f"foundation: {plan.source}, {(OUT / 'foundation.json').resolve().parent.name}/ is ready")


if __name__ == "__main__":
    call(main)

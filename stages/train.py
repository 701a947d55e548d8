"""Stage `train`: one run => runs/<run>/model (adapters and card), runs/<run>/train (history).

Checkpoints are in $DVC_ROOT/work/<hash of all inputs>: a killed run continues exactly, and a run
with other inputs never meets them.
"""

import os
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from omgsr import backbones, config, features, files, images, manifest, previews, runs, workdir
from omgsr.checkpoint import CheckpointError
from omgsr.datasets import Pairs
from omgsr.generator import Generator
from omgsr.session import Session, fingerprint
from omgsr.training import NonFiniteLoss, Settings, Trainer, fit
from stages import tracking

FOUNDATION = Path("foundation")


def card(settings: config.Config, variant: str, resolved: dict[str, Any]) -> dict[str, Any]:
    """The fields of the run card: everything that decides the run, read from its one source."""
    plan = settings.train
    return {
        "variant": variant,
        "t": resolved["t"],
        "t_source": resolved["source"],
        "losses": dict(settings.variants[variant].losses),
        "latent": plan.latent,
        "encoder_rank": plan.encoder_rank,
        "unet_rank": plan.unet_rank,
        "steps": plan.steps,
        "prompt": settings.foundation.prompt,
        "seed": settings.seed,
        "scale": settings.data.scale,
        "foundation": files.read_json(FOUNDATION / "foundation.json"),
    }


def trainer(settings: config.Config, about: dict[str, Any]) -> Trainer:
    """Fresh adapters and heads on the foundation."""
    generator = Generator(backbones.load(FOUNDATION), about["t"], about["latent"])
    generator.add_adapters(about["encoder_rank"], about["unet_rank"], about["seed"])
    plan = settings.train
    chosen = Settings(
        losses=about["losses"], steps=plan.steps, batch=plan.batch, accumulate=plan.accumulate,
        lr=plan.lr, lr_schedule=plan.lr_schedule, weight_decay=plan.weight_decay,
        clip_grad=plan.clip_grad, real_label=plan.real_label, seed=settings.seed,
    )  # fmt: skip
    return Trainer(generator, features.load(FOUNDATION / "features"), chosen)


def train(session: Session, pairs: Pairs, plan: config.Train, log: tracking.Live) -> None:
    """Runs the steps that are left with a bar, live curves and preview sheets."""
    shown = previews.fixed(pairs, 6)
    state = session.trainer
    with tqdm(total=plan.steps, initial=state.step, desc="train", unit="step") as bar:
        for terms in session.follow(fit(state, pairs, plan.num_workers)):
            bar.set_postfix(loss=f"{terms['generator']:.3f}", refresh=False)
            bar.update()
            log(state.step, {f"train/{name}": v for name, v in terms.items() if name != "step"})
            if state.step % plan.preview_every == 0 or state.step == plan.steps:
                sheet = previews.sheet(state.generator, *shown)
                images.write_png(session.work / "previews" / f"step-{state.step:06d}.png", sheet)


def main(variant: str, timestep: str) -> None:
    """`variant` at `timestep`, both as in the sweep."""
    settings, run = config.load(), f"{variant}-{timestep}"
    out, plan = Path("runs") / run, settings.train
    about = card(settings, variant, files.read_json(out / "t.json"))
    rows = manifest.read("data/pairs/train.csv")
    key = fingerprint({**about, **asdict(plan)}, rows)
    work = Path(os.environ.get("DVC_ROOT", ".")).resolve() / "work" / f"train-{key}"
    started = time.time()
    tags = {"omgsr.work": key, "omgsr.run": run}
    with workdir.exclusive(work), tracking.live(run, {**about, **asdict(plan)}, tags) as log:
        session = Session(trainer(settings, about), work, plan.checkpoint_every, plan.log_every)
        train(session, Pairs(rows, about["scale"], plan.crop, settings.seed), plan, log)
        shutil.rmtree(out / "train", ignore_errors=True)
        runs.save(session.trainer.generator, out / "model", about)
        session.write_history(out / "train" / "history.csv")
        shutil.copytree(work / "previews", out / "train" / "previews")
        times = {"start": started, "end": time.time(), "seconds": time.time() - started}
        files.write_json(out / "train" / "run.json", {"mlflow_run_id": log.run_id, **times})
        shutil.rmtree(work)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError, ImportError, NonFiniteLoss, CheckpointError) as error:
        sys.exit(f"train: {error}")

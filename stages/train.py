"""Stage `train`: one run => runs/<run>/model (adapters and card), runs/<run>/train (history).

Checkpoints are in $DVC_ROOT/work/<hash of all inputs>: a killed run continues exactly, and a run
with other inputs never meets them. OMGSR_LAUNCH holds options of torchrun for several GPUs or
machines (stages/run.sh); the result does not depend on their number.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from omgsr import config
from omgsr.core import files, images, workdir
from omgsr.data import manifest
from omgsr.data.datasets import Pairs
from omgsr.data.manifest import Row
from omgsr.evaluation import metrics
from omgsr.experiments import Run
from omgsr.method import perceptual, run_card
from omgsr.method.generator import Generator
from omgsr.models import features
from omgsr.models.backbones import from_folder
from omgsr.training import memory, previews, validation
from omgsr.training.processes import Processes
from omgsr.training.session import Session, fingerprint
from omgsr.training.settings import Settings, Train
from omgsr.training.trainer import Trainer, fit
from stages import call, times_of, workspace
from stages.tracking.live import live

FOUNDATION = Path("foundation")
SHOWN = 6
"""Pairs of a preview sheet."""


def card(settings: config.Config, run: Run, resolved: dict[str, Any]) -> dict[str, Any]:
    """The fields of the run card: everything that decides the run, read from its one source."""
    plan = settings.train
    return {
        "variant": run.variant,
        "t": resolved["t"],
        "t_source": resolved["source"],
        "losses": settings.losses(run.variant),
        "latent": plan.latent,
        "encoder_rank": plan.encoder_rank,
        "unet_rank": plan.unet_rank,
        "steps": plan.steps,
        "heads": plan.heads if settings.variants[run.variant].losses.get("gan") else None,
        "ema": plan.ema,
        "prompt": settings.foundation.prompt,
        "seed": run.seed,
        "scale": settings.data.scale,
        "foundation": files.read_json(FOUNDATION / "foundation.json"),
    }


def trainer(settings: config.Config, about: dict[str, Any], processes: Processes) -> Trainer:
    """Fresh adapters and heads on the foundation, on this process' device."""
    plan = settings.train
    backbone = from_folder.load(FOUNDATION, memory.DTYPES[plan.precision.denoiser])
    generator = Generator(backbone, about["t"], about["latent"])
    generator.add_adapters(about["encoder_rank"], about["unet_rank"], about["seed"])
    if about["losses"].get("vsd"):
        generator.add_regulariser(about["seed"])
    network = features.load(FOUNDATION / "features")
    chosen = Settings(**vars(plan), losses=about["losses"], seed=about["seed"])
    device, shared_by = processes.device, processes if plan.shard else None
    memory.place(
        generator, network, device, plan.precision, plan.gradient_checkpointing, shared_by
    )
    looked_at = perceptual.load((n for n, weight in chosen.losses.items() if weight), device)
    return Trainer(generator, network, chosen, processes, looked_at)


def validator(
    plan: Train, held: Sequence[Row], scale: int, processes: Processes
) -> validation.Validator | None:
    """The validation that the profile asks for; metrics without weights are named and left out."""
    if plan.validation is None:
        return None
    loaded, missing = metrics.load_all(plan.validation.metrics, str(processes.device))
    if plan.final in missing:
        raise ValueError(f"train.final: {missing[plan.final]}; or set train.final to last")
    for reason in missing.values() if processes.main else ():
        print(f"train: validation goes on without {reason}", file=sys.stderr)
    rows = manifest.spread(held, plan.validation.pairs)
    return validation.Validator(rows, scale, loaded, processes)


def train(session: Session, pairs: Pairs, shown: Pairs, plan: Train, log: Any) -> None:
    """Runs the steps that are left with a bar, live curves and preview sheets."""
    state, main = session.trainer, session.trainer.processes.main
    grid = previews.fixed(shown, SHOWN)
    start = {"total": plan.steps, "initial": state.step}
    with tqdm(**start, desc="train", unit="step", disable=not main) as bar:
        for terms in session.follow(fit(state, pairs, plan.num_workers)):
            bar.set_postfix(loss=f"{terms['generator']:.3f}", refresh=False)
            bar.update()
            due = state.step % plan.preview_every == 0 or state.step == plan.steps
            if due and (main or plan.shard):  # all processes compute with what they share
                with state.result() as generator:
                    sheet = previews.sheet(generator, *grid)
            if not main:
                continue
            log(state.step, {_shown(name): v for name, v in terms.items() if name != "step"})
            if due:
                path = session.work / "previews" / f"step-{state.step:06d}.png"
                images.write_png(path, sheet)
                log.picture(path, "previews")
                log(state.step, {"memory_gib": memory.peak_gib(state.device)})


def _shown(name: str) -> str:
    return name if "/" in name else f"train/{name}"


def publish(session: Session, out: Path, about: dict[str, Any], times: dict[str, Any]) -> None:
    """The outputs of the stage, once all steps are done."""
    shutil.rmtree(out / "train", ignore_errors=True)
    run_card.save(session.trainer.generator, out / "model", {**about, **session.finish()})
    session.write_history(out / "train" / "history.csv")
    shutil.copytree(session.work / "previews", out / "train" / "previews")
    peak = memory.peak_gib(session.trainer.device)
    files.write_json(times_of(out / "model"), {**times, "peak_memory_gib": round(peak, 3)})


def main(variant: str, timestep: str, seed: str) -> None:
    """The values of a run, as in the sweep."""
    settings, run = config.load(), Run(variant, timestep, int(seed))
    out, plan, processes = Path("runs", run.name), settings.train, Processes.start()
    about = card(settings, run, files.read_json(out / "t.json"))
    rows, held = manifest.read("data/pairs/train.csv"), list[Row]()
    key = fingerprint({**about, **asdict(plan), "exact": settings.exact}, rows)
    if plan.validation:
        rows, held = validation.hold_out(rows, plan.validation.images)
    if processes.device.type == "cpu":
        # With more, sums are rounded in another order: the model would depend on the machine's
        # cores, and on who else has a share of them. For small networks one is as fast.
        torch.set_num_threads(1)
    work = workspace() / "work" / f"train-{key}"
    started = time.time()
    tags = {"omgsr.work": key, "omgsr.run": run.name}
    with ExitStack() as stack:
        log = None
        if processes.main:
            stack.enter_context(workdir.exclusive(work))
            log = stack.enter_context(live(run.name, {**about, **asdict(plan)}, tags))
        processes.wait()  # nobody reads a checkpoint before the folder is this run's
        state = trainer(settings, about, processes)
        validate = validator(plan, held, about["scale"], processes)
        session = Session(trainer=state, work=work, validate=validate)
        pairs = Pairs(rows, about["scale"], plan.crop, run.seed)
        shown = Pairs(held or rows, about["scale"], None, run.seed, flip=False)
        train(session, pairs, shown, plan, log)
        if processes.main and log is not None:
            times = {"start": started, "end": time.time(), "seconds": time.time() - started}
            publish(session, out, about, {"mlflow_run_id": log.run_id, **times})
            shutil.rmtree(work)
    processes.close()


if __name__ == "__main__":
    call(main)

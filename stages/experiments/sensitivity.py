"""`make sensitivity`: how t* depends on what it is computed from => reports/sensitivity/.

    python -m stages.experiments.sensitivity              every setting, from data/ and foundation/
    ... --foundation sd15=DIR   this foundation folder too, repeatable
    ... --stored                table and figure from the stored numbers

Beside the pipeline, after `dvc repro`, which it changes nothing of. moments.csv and snr.csv hold
the numbers: P and N of every image, and the signal-to-noise ratio of every timestep.
"""

import argparse
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from omgsr import config
from omgsr.core import devices, files, frames, workdir
from omgsr.data import manifest, pairs
from omgsr.data.manifest import Row
from omgsr.method import latent_moments, timestep
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Latent
from omgsr.reporting import plot_style, sensitivity
from stages import call, git
from stages.experiments import filled

OUT, FOUNDATION = Path("reports/sensitivity"), Path("foundation")


def main(foundations: dict[str, Path], stored: bool) -> None:
    """Computes what is not stored, then writes table and figure from what is."""
    settings = config.load()
    made_by = made_at("HEAD") if not stored else made_at("HEAD", "--", str(OUT / "moments.csv"))
    if not stored:
        collect(settings, foundations)
    moments = frames.read(OUT / "moments.csv", text=("value",))
    ratios = frames.read(OUT / "snr.csv")
    snr = {name: own["snr"].to_numpy(float) for name, own in ratios.groupby("backbone")}
    found = sensitivity.table(moments, snr, settings.timestep.bootstrap, settings.seed)
    files.write_text(OUT / "sensitivity.csv", found.to_csv(index=False))
    text = sensitivity.markdown(found)
    values = {"settings": settings, "made_by": made_by, "table": text}
    files.write_text(OUT / "README.md", filled("sensitivity.md.jinja", **values))
    plot_style.save(sensitivity.figure(found), OUT / "sensitivity.png")
    print(text)


def collect(settings: config.Config, foundations: dict[str, Path]) -> None:
    """(P, N) of every setting, and s_t of every backbone."""
    own = settings.foundation.backbone
    folders = {own: FOUNDATION, **foundations}
    parts, ratios = [], []
    work = Path("work/sensitivity").resolve()
    with workdir.exclusive(work):
        for name, folder in folders.items():
            backbone = from_folder.load(folder).to(devices.pick())
            snr = timestep.snr_array(backbone.schedule.snr())
            t = range(1, len(snr) + 1)
            ratios.append(pd.DataFrame({"backbone": name, "t": t, "snr": snr}))
            if name == own:
                parts += stored_sets(settings)
            alone = ("backbone", name, settings.timestep.latent, training(settings))
            for what, value, latent, rows in own_sets(settings, work) if name == own else [alone]:
                batch, seed = settings.timestep.batch, settings.seed
                found = latent_moments.pair_moments(
                    backbone, rows, settings.data.scale, batch, latent, seed
                )
                bar = tqdm(found, total=len(rows), desc=f"{what} {value}", unit="image")
                images, power, error = latent_moments.columns(list(bar))
                made = pd.DataFrame({"image": images, "power": power, "error": error})
                parts.append(labelled(made, what, value, name))
        shutil.rmtree(work)
    files.write_text(OUT / "moments.csv", pd.concat(parts).to_csv(index=False))
    files.write_text(OUT / "snr.csv", pd.concat(ratios).to_csv(index=False))


def stored_sets(settings: config.Config) -> list[pd.DataFrame]:
    """What the stage `timestep` has stored: all its images, and its kinds of images apart."""
    stored = frames.read("data/moments.csv")
    own = settings.foundation.backbone
    parts = [labelled(stored, sensitivity.OWN, settings.profile, own)]
    generated = stored["image"].str.startswith("leaves")
    kinds = {"dead leaves": stored[generated], "photographs": stored[~generated]}
    if all(map(len, kinds.values())):
        parts += [labelled(f, "data set", f"train, {k}", own) for k, f in kinds.items()]
    return parts


def labelled(frame: pd.DataFrame, what: str, value: str, backbone: str) -> pd.DataFrame:
    """Moments with what they are of, as columns MOMENTS."""
    named = frame.assign(what=what, value=value, backbone=backbone)
    return named[list(sensitivity.MOMENTS)]


def own_sets(settings: config.Config, work: Path) -> Iterator[tuple[str, str, Latent, list[Row]]]:
    """(what, value, latent, pairs) of every setting with the profile's own backbone."""
    plan, rows = settings.timestep, training(settings)
    other_latent: Latent = "sample" if plan.latent == "mode" else "mode"
    yield "latent", other_latent, other_latent, rows
    for preset in settings.degradation:
        if preset != settings.data.degradation:
            yield "degradation", preset, plan.latent, degraded(settings, preset, work)
    for name, benchmark in settings.benchmarks.items():
        if benchmark.paired:
            yield "data set", name, plan.latent, manifest.read(f"data/pairs/{name}.csv")


def training(settings: config.Config) -> list[Row]:
    """The pairs that the profile's t* is computed from."""
    return manifest.spread(manifest.read("data/pairs/train.csv"), settings.timestep.images)


def degraded(settings: config.Config, preset: str, work: Path) -> list[Row]:
    """The training pairs again, degraded by another preset, in `work`."""
    s = settings
    plan = pairs.plans(s.data, s.benchmarks, s.degradation, s.seed, preset)["train"]
    assert plan is not None
    plan = replace(plan, preset=settings.degradation[preset])
    source = manifest.read("data/source/train.csv")
    made = tqdm(pairs.make([(plan, row) for row in source], work), total=len(source), desc=preset)
    rows = [replace(row, lq=str(work / row.lq)) for _, some in made for row in some]
    return manifest.spread(rows, settings.timestep.images)


def made_at(*words: str) -> str:
    """The commit that the numbers are of, for a reader; empty where there is no git."""
    try:
        commit = git("log", "-1", "--abbrev=12", "--format=%h", *words).decode().strip()
    except OSError:
        return ""
    return f"`make sensitivity` at commit {commit}. " if commit else ""


def named(text: str) -> tuple[str, Path]:
    """NAME=FOLDER of the command line."""
    name, sign, folder = text.partition("=")
    if not (name and sign and (Path(folder) / "foundation.json").is_file()):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give NAME=FOLDER, a folder that the stage `foundation` has written"
        )
    return name, Path(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m stages.experiments.sensitivity")
    parser.add_argument("--foundation", type=named, action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--stored", action="store_true", help="from moments.csv and snr.csv alone")
    given = parser.parse_args()
    call(main, [dict(given.foundation), given.stored])

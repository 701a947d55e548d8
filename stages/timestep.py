"""Stage `timestep`: t* of the training pairs => reports/timestep.{json,csv} and its figure.

Finished images are in $DVC_ROOT/work/<hash of all inputs>: a killed run continues, and writes the
same bytes.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from omgsr import config
from omgsr.core import devices, files, workdir
from omgsr.core.fingerprint import sha256, work_name
from omgsr.data import manifest
from omgsr.method import latent_moments, timestep
from omgsr.method.latent_moments import Moment
from omgsr.method.timestep import Floats, Result
from omgsr.models.backbones import from_folder
from omgsr.models.backbones.base import Backbone
from omgsr.reporting import plot_style, timestep_figure
from stages import call, workspace

OUT = Path("reports")


def encode(settings: config.Config, backbone: Backbone, work: Path) -> list[Moment]:
    """(name, P, N) of every pair, those that `work` has from before and the others."""
    plan = settings.timestep
    rows = manifest.spread(manifest.read("data/pairs/train.csv"), plan.images)
    done = latent_moments.Journal(work / "moments.jsonl")
    left = done.left(rows, plan.batch)
    found = latent_moments.pair_moments(
        backbone, left, settings.data.scale, plan.batch, plan.latent, settings.seed
    )
    start = {"total": len(rows), "initial": len(rows) - len(left)}
    for moment in tqdm(found, **start, desc="timestep", unit="image"):
        done.add(moment)
    return [done[row.name] for row in rows]


def finished(settings: config.Config) -> Path:
    """The folder of what an earlier run with the same inputs has finished."""
    inputs = [f"{settings.timestep} {settings.data.scale} {settings.seed} {settings.exact}"]
    inputs += [files.read_text("foundation/foundation.json")]
    inputs += [sha256(path) for path in ("data/pairs/train.csv", "data/pairs/train")]
    rooms, packages = ("core", "data", "models", "method"), ("torch", "diffusers")
    return workspace() / "work" / f"timestep-{work_name(rooms, packages, inputs)}"


def publish(settings: config.Config, snr: Floats, found: Sequence[Moment]) -> Result:
    """Computes t*, its interval and its curve, and writes the outputs."""
    names, power, error = latent_moments.columns(found)
    result = timestep.find(power, error, snr, settings.timestep.bootstrap, settings.seed)
    gap = timestep.curve(power, error, snr)
    images = pd.DataFrame(
        {"image": names, "power": power, "error": error, "t": timestep.per_image(error, snr)}
    )
    curve = pd.DataFrame({"t": range(1, len(snr) + 1), "gap": gap, "snr": snr})
    files.write_text(OUT / "timestep.csv", curve.to_csv(index=False))
    files.write_text("data/moments.csv", images.to_csv(index=False))
    figure = timestep_figure.timestep_curve(curve, result.as_dict(), images)
    plot_style.save(figure, OUT / "timestep.png")
    files.write_json(OUT / "timestep.json", result.as_dict())
    return result


def main() -> None:
    """Encodes every pair once, then computes t*."""
    settings = config.load()
    backbone = from_folder.load(Path("foundation")).to(devices.pick())
    snr = timestep.snr_array(backbone.schedule.snr())
    work = finished(settings)
    with workdir.exclusive(work):
        found = encode(settings, backbone, work)
        result = publish(settings, snr, found)
        shutil.rmtree(work)
    print(
        f"t* = {result.t} (95 % interval {result.low} to {result.high}) from {result.images} pairs"
    )


if __name__ == "__main__":
    call(main)

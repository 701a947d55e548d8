"""Stage `timestep`: t* of the training pairs => reports/timestep.{json,csv} and its figure."""

import sys
import time
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from omgsr import config
from omgsr.core import devices, files
from omgsr.data import manifest
from omgsr.method import latent_moments, timestep
from omgsr.models.backbones import from_folder
from omgsr.reporting import plot_style, timestep_figure

OUT = Path("reports")


def main() -> None:
    """Encodes every pair once, then computes t*, its interval and its curve."""
    settings = config.load()
    plan = settings.timestep
    rows = manifest.spread(manifest.read("data/pairs/train.csv"), plan.images)
    backbone = from_folder.load(Path("foundation")).to(devices.pick())
    snr = timestep.snr_array(backbone.schedule.snr())
    started = time.perf_counter()
    found = latent_moments.pair_moments(
        backbone, rows, settings.data.scale, plan.batch, plan.latent, settings.seed
    )
    names, power, error = latent_moments.columns(
        list(tqdm(found, total=len(rows), desc="timestep", unit="image"))
    )
    encoded = time.perf_counter()
    result = timestep.find(power, error, snr, plan.bootstrap, settings.seed)
    gap = timestep.curve(power, error, snr)
    images = pd.DataFrame(
        {"image": names, "power": power, "error": error, "t": timestep.per_image(error, snr)}
    )
    curve = pd.DataFrame({"t": range(1, len(snr) + 1), "gap": gap, "snr": snr})
    share = (encoded - started) / (time.perf_counter() - started)
    files.write_text(OUT / "timestep.csv", curve.to_csv(index=False))
    files.write_text("data/moments.csv", images.to_csv(index=False))
    figure = timestep_figure.timestep_curve(curve, result.as_dict(), images)
    plot_style.save(figure, OUT / "timestep.png")
    files.write_json(OUT / "timestep.json", result.as_dict())
    print(
        f"t* = {result.t} (95 % interval {result.low} to {result.high}) from {result.images} pairs;"
        f" {share:.1%} of the time was encoding"
    )


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as problem:
        sys.exit(f"timestep: {problem}")

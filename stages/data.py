"""Stage `data`: the images of the training set and the benchmarks => data/source/<set>.csv.

Packaged photographs and generated images become PNGs in data/source/images; images of folders
stay where they are. HQ only, except for benchmarks that exist as LQ files.
"""

from pathlib import Path

from omgsr import config
from omgsr.data import image_sets, manifest
from stages import call, workspace

OUT = Path("data/source")


def main() -> None:
    """Writes one manifest a set; what is missing in the data stops with one message."""
    settings = config.load()
    for name, rows in image_sets.manifests(
        settings.data, settings.benchmarks, settings.seed, OUT / "images", workspace()
    ):
        manifest.write(OUT / f"{name}.csv", rows)
        print(f"{name}: {len(rows)} images")


if __name__ == "__main__":
    call(main)

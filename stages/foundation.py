"""Stage `foundation`: the pre-trained model => foundation/ (see omgsr/foundation.py)."""

import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from omgsr import config, foundation, images, photographs

OUT = Path("foundation")


def train(settings: config.Config) -> None:
    """Trains the small model on the packaged photographs of data.train and dead leaves."""
    plan = settings.foundation.training
    steps = plan.vae_steps + plan.unet_steps + plan.feature_steps if plan else 0
    pictures = [images.read_rgb(photographs.locate(n)) for n in settings.data.train.photographs]
    with tqdm(total=steps, unit="step") as bar:
        for network, _, loss in foundation.train(OUT, pictures, settings.foundation, settings.seed):
            bar.set_description(f"{network} loss {loss:.4f}", refresh=False)
            bar.update()


def main() -> None:
    """Resolves foundation.source."""
    settings = config.load()
    source = settings.foundation.source
    shutil.rmtree(OUT, ignore_errors=True)
    if source == "shipped":
        foundation.ship(OUT, settings.foundation)
    elif source == "train":
        train(settings)
    elif source == "folder":
        foundation.link(OUT, Path(settings.foundation.path or ""), settings.foundation)
    else:
        foundation.link(OUT, foundation.download(settings.foundation), settings.foundation)
    print(f"foundation: {source}, {(OUT / 'foundation.json').resolve().parent.name}/ is ready")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"foundation: {error}")

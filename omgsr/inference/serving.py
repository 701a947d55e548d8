"""A trained run as a function from image files to image files, as a server needs it."""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from omgsr.core import devices, files
from omgsr.inference import benchmarks
from omgsr.inference.color import Alignment
from omgsr.inference.restore import OneStep
from omgsr.inference.streaming import Flow, scaled
from omgsr.method import run_card

SEED = 42
"""Of sampled latents: the default of `omgsr upscale`."""
COLORS = get_args(Alignment)


class Restorer:
    """Encoded images => restored PNG, the same as `omgsr upscale` writes."""

    def __init__(self, model: Path, foundation: Path, device_name: str = "auto") -> None:
        generator, card = run_card.load(model, foundation)
        generator = benchmarks.merge(generator).to(devices.pick(device_name))
        self._method = OneStep(generator, seed=SEED)
        self._scale = card.scale if card else 4

    def __call__(self, data: bytes, scale: float = 0, color: Alignment = "adain") -> bytes:
        """A file of any format `omgsr upscale` reads => PNG; `scale` 0 is what the run trained.

        16 bits, grey and transparency stay. Raises ValueError for what is no image or no setting.
        """
        if not 0 <= scale <= 16:
            raise ValueError(f"scale: got {scale}, allowed: 0 for {self._scale}, or at most 16")
        if color not in COLORS:
            raise ValueError(f"color: got {color!r}, allowed: {', '.join(COLORS)}")
        self._method.color = color
        flow = Flow(self._method, scaled(scale or self._scale))
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "image"), Path(folder, "restored.png")
            source.write_bytes(data)
            (done,) = flow.run({source: target})
            if done.error:
                raise ValueError(done.error.replace(str(source), "image"))
            return target.read_bytes()


def load(model: Path | str, places: Iterable[Path | str | None]) -> Restorer:
    """The restorer of a run's folder `model`, on the first of `places` that holds its foundation.

    The working directory's `foundation` is the last of the places. Raises FileNotFoundError where
    none of them is the foundation that the run was trained on.
    """
    model = Path(model)
    wanted = run_card.read_card(model).foundation
    looked = [Path(place) for place in (*places, "foundation") if place]
    for place in looked:
        about = place / "foundation.json"
        if about.is_file() and files.read_json(about)["sha256"] == wanted["sha256"]:
            return Restorer(model, place)
    raise FileNotFoundError(
        f"the run needs the foundation {wanted['backbone']} with sha256 {wanted['sha256'][:12]}, "
        f"which is not in {', '.join(str(place.absolute()) for place in looked)}: run `dvc repro "
        "foundation` (or `dvc pull foundation`) in a checkout and set OMGSR_FOUNDATION to it"
    )

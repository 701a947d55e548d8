"""Before/after sheets: every picture as LQ, by each method and as HQ, whole and in detail.

Pixels are shown as they are: the detail is enlarged by a whole number without smoothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import get_data_path
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from omgsr.core import images
from omgsr.data import manifest

Pixels = NDArray[np.uint8]

SHOWN = 4
"""Pictures of a benchmark at most."""
GAP = 10
"""Space between tiles, pixels."""
DETAIL = 96
"""Side of the enlarged square, pixels of the HQ."""
INK, PAPER = (20, 20, 20), (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture by all methods, each uint8 (H, W, 3) at the HQ's size."""

    name: str
    versions: Mapping[str, Pixels]
    """Column name => image: LQ, each method, HQ where there is one."""
    captions: Mapping[str, str]
    """Column name => a line below it, such as its scores."""


def pictures(
    benchmark: str, runs: Sequence[str], scores: pd.DataFrame, scale: int
) -> Iterator[Picture]:
    """SHOWN images, spread over a benchmark: LQ, bicubic, every run with its scores, and HQ."""
    for row in manifest.spread(manifest.read(f"data/pairs/{benchmark}.csv"), SHOWN):
        lq = manifest.load_lq(row)
        found = {"LQ (nearest)": nearest(lq, scale), "bicubic": images.upscale(lq, scale)}
        for run in runs:
            found[run] = images.read_rgb(Path("runs", run, "sr", benchmark, f"{row.name}.png"))
        found |= {"HQ": manifest.load_hq(row)} if row.hq else {}
        told = {run: caption(scores, benchmark, run, row.name) for run in runs}
        yield Picture(name=row.name, versions=found, captions=told)


def caption(scores: pd.DataFrame, benchmark: str, run: str, image: str) -> str:
    """The first three scores of one picture."""
    keys = {"benchmark": benchmark, "run": run, "image": image}
    own = scores[(scores[list(keys)] == list(keys.values())).all(axis=1)]
    first = own[["metric", "value"]].head(3).itertuples(index=False)
    return "  ".join(f"{metric} {value:.4g}" for metric, value in first)


def nearest(image: Pixels, scale: int) -> Pixels:
    """Every pixel `scale` times in both directions: (H, W, 3) => (scale H, scale W, 3)."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def busiest(image: Pixels, side: int) -> tuple[int, int]:
    """Top-left corner of the square of `side` pixels with the most detail (gradient energy)."""
    grey = image.mean(axis=2)
    energy = np.zeros_like(grey)
    energy[1:] += np.abs(np.diff(grey, axis=0))
    energy[:, 1:] += np.abs(np.diff(grey, axis=1))
    total = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    boxes = total[side:, side:] - total[:-side, side:] - total[side:, :-side]
    boxes += total[:-side, :-side]
    top, left = np.unravel_index(int(boxes.argmax()), boxes.shape)
    return int(top), int(left)


def sheet(title: str, pictures: Sequence[Picture], tile: int = 4 * DETAIL) -> Pixels:
    """All pictures below each other, a column a version => uint8 (H, W, 3).

    `tile` is the side of a cell in pixels, a multiple of DETAIL; the upper cell shows the whole
    picture, the lower one its busiest DETAIL x DETAIL pixels, enlarged to fill it.
    """
    if not pictures:
        raise ValueError(f"{title}: no picture to show")
    bands = [_band(picture, tile) for picture in pictures]
    width = max(band.width for band in bands)
    y = 2 * _line(tile)
    canvas = Image.new("RGB", (width, y + sum(band.height for band in bands)), PAPER)
    _write(canvas, (GAP, GAP), title, tile, bold=True)
    for band in bands:
        canvas.paste(band, (0, y))
        y += band.height
    return np.array(canvas)


def _band(picture: Picture, tile: int) -> Image.Image:
    """Name, column heads, whole pictures, details, captions."""
    shapes = {version.shape for version in picture.versions.values()}
    if len(shapes) > 1:
        raise ValueError(f"{picture.name}: versions differ in size: {sorted(shapes)}")
    last = list(picture.versions.values())[-1]
    side = min(DETAIL, *last.shape[:2])
    zoom = tile // side
    corner = busiest(last, side)
    whole = {name: _fit(version, tile) for name, version in picture.versions.items()}
    height = next(iter(whole.values())).height
    line, step = _line(tile), tile + GAP
    detail_y = 2 * line + height + GAP
    size = (GAP + step * len(whole), detail_y + side * zoom + line + 2 * GAP)
    band = Image.new("RGB", size, PAPER)
    _write(band, (GAP, 0), picture.name, tile, bold=True)
    for index, (name, version) in enumerate(picture.versions.items()):
        x = GAP + index * step
        _write(band, (x, line), name, tile)
        band.paste(whole[name], (x, 2 * line))
        _frame(band, (x, 2 * line), whole[name].width / version.shape[1], corner, side)
        top, left = corner
        detail = nearest(version[top : top + side, left : left + side], zoom)
        band.paste(Image.fromarray(detail), (x, detail_y))
        _write(band, (x, detail_y + side * zoom + 2), picture.captions.get(name, ""), tile)
    return band


def _fit(image: Pixels, tile: int) -> Image.Image:
    """At most `tile` wide and high: enlarged by a whole number, or reduced smoothly."""
    height, width = image.shape[:2]
    factor = tile // max(height, width)
    if factor >= 1:
        return Image.fromarray(nearest(image, factor))
    ratio = tile / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)


def _frame(
    band: Image.Image, origin: tuple[int, int], ratio: float, corner: tuple[int, int], side: int
) -> None:
    """Marks on the whole picture where its detail is from."""
    top, left = (round(place * ratio) for place in corner)
    x, y, length = origin[0] + left, origin[1] + top, round(side * ratio)
    # Light around dark shows on every background.
    draw = ImageDraw.Draw(band)
    draw.rectangle((x, y, x + length - 1, y + length - 1), outline=PAPER, width=4)
    draw.rectangle((x + 1, y + 1, x + length - 2, y + length - 2), outline=INK, width=2)


def _line(tile: int) -> int:
    """Height of a line of text: three scores fit below a tile."""
    return tile // 15


def _write(
    image: Image.Image, place: tuple[int, int], text: str, tile: int, bold: bool = False
) -> None:
    # matplotlib's wheel carries this font, so the sheet looks the same on every machine.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    font = ImageFont.truetype(Path(get_data_path(), "fonts", "ttf", name), tile // 21)
    ImageDraw.Draw(image).text(place, text, fill=INK, font=font)

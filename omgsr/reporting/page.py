"""The report as one HTML file: no network, no other file, opens from disk."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from omgsr.reporting.tables import Rows

QUALITY = 95
"""WebP quality of the pictures; the PNGs of the report are exact."""


@dataclass(frozen=True)
class Table:
    """A table that a click on a column's head sorts."""

    head: Sequence[str]
    rows: Rows
    names: int = 1
    """Columns from the left that hold names."""
    caption: str = ""
    notes: Sequence[str] = ()
    """Sentences below it."""


@dataclass(frozen=True)
class Picture:
    """One image by several methods, two of them at a time side by side."""

    name: str
    versions: Mapping[str, str]
    """Method => data URI; all of one size."""
    left: str
    right: str
    width: int
    height: int
    captions: Sequence[str] = ()


@dataclass(frozen=True)
class Block:
    """A section of the page."""

    id: str
    title: str
    text: str = ""
    plots: Sequence[Markup] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    """Name => preformatted text that opens on a click."""


def render(*, title: str, subtitle: str, notes: Sequence[str], blocks: Sequence[Block]) -> str:
    """The HTML of a report; every text is escaped."""
    environment = Environment(
        loader=PackageLoader("omgsr", "assets/page"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    template = environment.get_template("template.html")
    return template.render(title=title, subtitle=subtitle, notes=notes, blocks=blocks)


def picture(
    name: str,
    versions: Mapping[str, NDArray[np.uint8]],
    left: str,
    right: str,
    captions: Sequence[str] = (),
) -> Picture:
    """A picture from uint8 arrays (H, W, 3) of one size by method."""
    sizes = {array.shape for array in versions.values()}
    if len(sizes) != 1:
        raise ValueError(f"{name}: versions of several sizes: {sorted(sizes)}")
    height, width = sizes.pop()[:2]
    sources = {key: webp(array) for key, array in versions.items()}
    return Picture(name, sources, left, right, width, height, captions)


def webp(array: NDArray[np.uint8]) -> str:
    """uint8 (H, W, 3) => data URI."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def svg(figure: Figure, label: str) -> Markup:
    """A figure as inline SVG, the same bytes each time, with `label` for screen readers."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": label, "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    # The same ids in two figures of one page would draw one with the other's shapes.
    prefix = re.sub(r"\W+", "-", label.lower())
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", text)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{Markup.escape(label)}"', 1))

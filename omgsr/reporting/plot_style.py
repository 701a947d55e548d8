"""What all figures share: colours, labels, and files of equal bytes for equal figures."""

import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from omgsr.core.files import write_bytes

# Okabe and Ito's colours, which people with colour blindness can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BEST = "#D55E00"


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG, or a PDF for a paper with fonts embedded, by the suffix; whole or not at all.

    Equal figures give equal bytes.
    """
    buffer, kind = io.BytesIO(), path.suffix[1:]
    changing = {"png": ["Software"], "pdf": ["CreationDate", "Producer"]}[kind]
    with mpl.rc_context({"pdf.fonttype": 42}):
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(changing))
    write_bytes(path, buffer.getvalue())


def message(text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = Figure(figsize=(8, 1.5), dpi=130)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    return figure


def colors(count: int) -> Sequence[str]:
    """A colour for each of `count` lines; they repeat after seven."""
    return [COLORS[index % len(COLORS)] for index in range(count)]


def flag(axes: Axes, x: float, y: float, text: str) -> None:
    """Writes `text` beside the point (x, y)."""
    # Towards the middle of the axis, which may run either way, so that the text stays inside.
    start, end = axes.get_xlim()
    side = "left" if (x - start) / (end - start) < 0.5 else "right"
    axes.annotate(
        text, (x, y), (0, 12), textcoords="offset points", ha=side, color=BEST, weight="bold"
    )


def clean(axes: Axes) -> None:
    """A light grid, and no frame where there is no axis."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)

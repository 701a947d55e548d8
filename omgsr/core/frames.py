"""CSV files as data frames."""

import io
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from omgsr.core import files


def read(path: Path | str, text: Collection[str] = ()) -> pd.DataFrame:
    """A CSV with its numbers as numbers, but for the columns `text`."""
    return pd.read_csv(io.StringIO(files.read_text(path)), dtype=dict.fromkeys(text, str))


def scores(text: str, column: str = "value") -> pd.DataFrame:
    """The text of a CSV of scores: `column`, if there, has numbers or nothing, all else is text."""
    # keep_default_na: an image may be called NA, and the image of a mean is empty.
    frame = pd.read_csv(io.StringIO(text), keep_default_na=False, dtype=str)
    if column in frame:
        frame[column] = pd.to_numeric(frame[column].replace("", None))
    return frame

"""The photographs of Debian's packages: the list, a folder that lacks some, and the reduction."""

from pathlib import Path

import numpy as np
import pytest

from omgsr.core import images
from omgsr.data import wallpapers


def test_every_photograph_has_an_author_and_terms() -> None:
    assert len(wallpapers.WALLPAPERS) >= 35
    assert all(row["author"] and row["licence"] for row in wallpapers.WALLPAPERS.values())
    assert len({row["file"] for row in wallpapers.WALLPAPERS.values()}) == len(
        wallpapers.WALLPAPERS
    )


def test_a_folder_that_lacks_some_is_refused_with_what_brings_them(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"lacks 37 of 37.*mate-backgrounds.*make photogra"):
        wallpapers.locate(tmp_path)
    for row in wallpapers.WALLPAPERS.values():
        if row["package"] != "lomiri-wallpapers-20.04":
            (tmp_path / row["file"]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / row["file"]).touch()
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of 37 photographs \(nuthatch\)"):
        wallpapers.locate(tmp_path)


@pytest.mark.parametrize(("side", "reduced"), [(1000, 500), (2000, 1000), (2001, 667), (3391, 847)])
def test_a_photograph_is_reduced_by_two_or_more(tmp_path: Path, side: int, reduced: int) -> None:
    picture = np.full((side, side + 10, 3), 7, np.uint8)
    images.write_png(tmp_path / "a.png", picture)
    got = wallpapers.read(tmp_path / "a.png")
    assert got.shape[0] == reduced
    assert (got == 7).all()

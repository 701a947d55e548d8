"""Figures and before/after sheets: what they show, and equal bytes for equal values."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from omgsr.core import images
from omgsr.evaluation.composite import AVERAGE
from omgsr.reporting import figures, paper_numbers, plot_style, sheets, timestep_figure
from omgsr.reporting.compared import Run


def digest(figure, path):
    plot_style.save(figure, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def t_star(t=154):
    steps = np.arange(1, 1000)
    curve = pd.DataFrame({"t": steps, "gap": 1 + np.abs(np.log(steps / t)), "snr": 1.0 / steps})
    result = {"t": t, "images": 3, "low": t - 4, "high": t + 6, "below": 1 / 3, "above": 1 / 3}
    return curve, result, pd.DataFrame({"image": list("abc"), "t": [t - 50, t, t + 80]})


def histories():
    steps = np.arange(1, 41)
    terms = {name: np.exp(-steps / 20) for name in ("lrr", "gan", "l1", "d")}
    return {"full-1": pd.DataFrame({"step": steps} | terms)}


def composites(*variants):
    rows = [
        (f"{v}-{t}", name, None if t == 500 else 1 - abs(t - 273) / 1000)
        for v in variants
        for t in (999, 500, 273, 1)
        for name in ("x", "y", "average")
    ]
    table = pd.DataFrame(rows, columns=["run", "benchmark", "composite"], dtype=object)
    runs = list(dict.fromkeys(table["run"]))
    return table, [Run(name=r, variant=r.split("-")[0], t=int(r.split("-")[1])) for r in runs]


def ours(axes):
    """The lines but for the first, which is the paper's, behind all others."""
    return axes.lines[1:]


def texts(figure):
    found = [a.get_title() + a.get_title("left") for a in figure.axes]
    return found + [t.get_text() for a in figure.axes for t in a.texts]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: timestep_figure.timestep_curve(*t_star()),
        lambda: figures.loss_curves(histories()),
        lambda: figures.composite_curve(*composites("full")),
    ],
)
def test_equal_values_give_equal_bytes(draw, tmp_path):
    assert digest(draw(), tmp_path / "a.png") == digest(draw(), tmp_path / "b.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width >= 900
        assert not set(image.info) & {"Software", "Creation Time", "date"}


def test_the_t_curve_shows_t_its_interval_and_every_image():
    figure = timestep_figure.timestep_curve(*t_star(154))
    top, bottom = figure.axes
    assert "t* = 154, 95 % interval 150 to 160, from 3 images" in top.get_title()
    assert list(top.lines[1].get_xdata()) == [154]
    band = top.patches[0].get_extents().transformed(top.transData.inverted())
    assert (band.x0, band.x1) == pytest.approx((149.5, 160.5))
    assert sum(patch.get_height() for patch in bottom.patches if patch.get_width() == 20) == 3


def test_losses_have_a_panel_for_each_term_and_a_line_for_each_run():
    both = histories() | {"to_hq-1": histories()["full-1"].rename(columns={"lrr": "to_hq"})}
    figure = figures.loss_curves(both)
    shown = {a.get_title(): len(a.lines) / 2 for a in figure.axes if a.get_title()}
    assert shown == {"lrr": 1, "gan": 2, "l1": 2, "d": 2, "to_hq": 1}
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["full-1", "to_hq-1"]


def test_seeds_are_points_about_the_mean_of_their_timestep():
    table, runs = composites("full")
    timesteps = {run.name: run.t for run in runs}
    table = table.dropna()
    again = table.assign(run=table["run"] + "-1", composite=table["composite"].astype(float) - 0.2)
    more = [replace(run, name=f"{run.name}-1", seed=1) for run in runs]
    both = pd.concat([table, again])
    (axes,) = figures.composite_curve(both, [*runs, *more]).axes
    (line,) = (line for line in axes.lines if line.get_label() == "average")
    first = table[table["benchmark"] == "average"].set_index("run")["composite"].astype(float)
    expected = sorted((timesteps[run], value - 0.1) for run, value in first.items())
    np.testing.assert_allclose(np.transpose([line.get_xdata(), line.get_ydata()]), expected)
    assert sum(len(points.get_offsets()) for points in axes.collections) == len(both)


def test_composites_run_from_999_to_1_with_the_best_named():
    figure = figures.composite_curve(*composites("full"))
    (axes,) = figure.axes
    left, right = axes.get_xlim()
    assert left > 999 > 1 > right
    assert {line.get_label() for line in ours(axes)} == {"x", "y", "average"}
    assert all(list(line.get_xdata()) == [1, 273, 999] for line in ours(axes))
    assert "best average: t = 273" in texts(figure)


def test_several_variants_have_a_line_each():
    (axes,) = figures.composite_curve(*composites("full", "no_lrr")).axes
    assert [line.get_label() for line in ours(axes)] == ["full", "no_lrr"]


def test_without_values_the_figure_says_so():
    table, runs = composites("full")
    table["composite"] = None
    empty = figures.composite_curve(table, runs)
    assert "at least two" in empty.texts[0].get_text()
    assert "No run" in figures.loss_curves({}).texts[0].get_text()


# --- sheets ---


def picture(side=48, **colors):
    versions = {
        name: np.full((side, side + 8, 3), value, np.uint8) for name, value in colors.items()
    }
    return sheets.Picture(name="cat", versions=versions, captions={"b": "psnr 20"})


def test_nearest_repeats_pixels():
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    big = sheets.nearest(image, 3)
    assert big.shape == (6, 6, 3)
    np.testing.assert_array_equal(big[1::3, 2::3], image)


def test_the_busiest_square_is_found():
    image = np.full((80, 100, 3), 90, np.uint8)
    image[41:57, 61:77] = np.random.default_rng(0).integers(0, 256, (16, 16, 3))
    top, left = sheets.busiest(image, 20)
    assert 37 <= top <= 42
    assert 57 <= left <= 62
    assert sheets.busiest(image, 80)[0] == 0


def test_a_sheet_shows_every_version_whole_and_in_detail():
    shown = sheets.sheet("set", [picture(a=10, b=100, c=200)], tile=96)
    columns = {
        value: np.flatnonzero((shown == value).all(2).sum(0) > 60) for value in (10, 100, 200)
    }
    starts = [int(found.min()) for found in columns.values()]
    assert starts[0] < starts[1] < starts[2]
    assert starts[1] - starts[0] == 96 + sheets.GAP
    # 48 x 56 pixels: once in 96, and 48 x 48 of them enlarged twice.
    pixels = int((shown == 100).all(2).sum())
    assert pixels > 0.8 * (48 * 56 + 96 * 96)


def test_details_are_the_pixels_themselves():
    noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    one = sheets.Picture(name="n", versions={"lq": noise}, captions={})
    shown = sheets.sheet("set", [one], tile=2 * sheets.DETAIL)
    top, left = sheets.busiest(noise, sheets.DETAIL)
    wanted = sheets.nearest(noise[top : top + sheets.DETAIL, left : left + sheets.DETAIL], 2)
    height, width = wanted.shape[:2]
    x = sheets.GAP
    found = [
        y
        for y in range(shown.shape[0] - height + 1)
        if np.array_equal(shown[y : y + height, x : x + width], wanted)
    ]
    assert len(found) == 1


def test_large_images_are_reduced_and_sheets_repeat(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 700, 3), dtype=np.uint8)
    wide = sheets.Picture(name="wide", versions={"lq": noise, "hq": noise}, captions={})
    shown = sheets.sheet("set", [wide, wide], tile=192)
    assert shown.shape[1] == sheets.GAP + 2 * (192 + sheets.GAP)
    for name in ("a.png", "b.png"):
        images.write_png(tmp_path / name, sheets.sheet("set", [wide, wide], tile=192))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_sheets_refuse_what_cannot_be_compared():
    versions = {"a": np.zeros((8, 8, 3), np.uint8), "b": np.zeros((8, 9, 3), np.uint8)}
    with pytest.raises(ValueError, match="cat: versions differ in size"):
        sheets.sheet("set", [sheets.Picture(name="cat", versions=versions, captions={})])
    with pytest.raises(ValueError, match="set: no picture"):
        sheets.sheet("set", [])


def test_the_papers_line_is_behind_and_pdfs_are_the_same_every_time(tmp_path):
    rows = [(run, b, v) for b in ("x", AVERAGE) for run, v in (("full-999", 0.1), ("full-1", 0.9))]
    frame = pd.DataFrame(rows, columns=["run", "benchmark", "composite"])
    given = [Run(name=f"full-{t}", variant="full", t=t) for t in (999, 1)]
    paper = paper_numbers.figure_4()
    assert paper.set_index("t").loc[273, "composite"] == 0.9774
    assert len(paper) == 12
    drawn = [figures.composite_curve(frame, given) for _ in range(2)]
    line = drawn[0].axes[0].lines[0]
    assert "Table 5" in line.get_label()
    assert list(line.get_ydata()) == list(paper["composite"])
    for index, figure in enumerate(drawn):
        plot_style.save(figure, tmp_path / f"{index}.pdf")
    first, second = ((tmp_path / f"{i}.pdf").read_bytes() for i in range(2))
    assert first == second
    assert first.startswith(b"%PDF")

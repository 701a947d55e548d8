"""`data.enlarge`: x_L from the unrounded LQ, the same for t* and the training, and by pair."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data

from omgsr import config
from omgsr.core import images, seeding
from omgsr.core.image_files import ImageError
from omgsr.data import degradation, manifest, pairs
from omgsr.data.datasets import Pairs, load_pair
from omgsr.data.degradation import degrade
from omgsr.data.manifest import Row
from omgsr.data.pairs import Plan
from omgsr.data.presets import MODES
from omgsr.method import latent_moments

SETTINGS = config.load(Path(__file__).parents[2], "official", ready=False)
PRESET = SETTINGS.degradation["official"]
PLAN = Plan(
    folder="train/lq", preset=PRESET, scale=4, seed=0, crop=64, random=8, enlarge="random"
)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """Three HQ images of 80 x 96 px."""
    folder = tmp_path_factory.mktemp("hq")
    for index in range(3):
        images.write_png(folder / f"p{index}.png", data.astronaut()[90 * index :][:80, 200:296])
    return [Row(name=f"p{index}", hq=str(folder / f"p{index}.png")) for index in range(3)]


def made(plan: Plan, source: list[Row], work: Path, workers: int = 1) -> list[Row]:
    """The pairs, their files in `work`."""
    jobs = [(plan, row) for row in source]
    return [
        replace(row, lq=str(work / row.lq))
        for _, rows in pairs.make(jobs, work, workers)
        for row in rows
    ]


@pytest.fixture(scope="module")
def rows(source: list[Row], tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return made(PLAN, source, tmp_path_factory.mktemp("made"))


def test_every_mode_occurs_and_the_manifest_tells_it(rows: list[Row], tmp_path: Path) -> None:
    counts = [sum(row.enlarged == mode for row in rows) for mode in MODES]
    assert sum(counts) == 24
    assert min(counts) >= 3
    manifest.write(tmp_path / "train.csv", rows)
    assert manifest.read(tmp_path / "train.csv") == rows


def test_modes_are_equally_likely_and_follow_from_seed_and_name() -> None:
    drawn = [degradation.draw_mode(seeding.rng(0, "enlarge", f"x_{i}")) for i in range(3000)]
    assert all(drawn.count(mode) == pytest.approx(1000, abs=130) for mode in MODES)  # 5 sigma
    assert drawn[:50] != [
        degradation.draw_mode(seeding.rng(1, "enlarge", f"x_{i}")) for i in range(50)
    ]


def test_a_pair_depends_on_neither_workers_nor_company_nor_a_kill(
    rows: list[Row], source: list[Row], tmp_path: Path
) -> None:
    helped = made(PLAN, source, tmp_path / "helped", workers=2)
    alone = made(PLAN, source[2:], tmp_path / "alone")
    Path(helped[0].lq).unlink()
    again = made(PLAN, source, tmp_path / "helped")
    for other, same in ((again, rows), (alone, rows[16:])):
        for one, two in zip(other, same, strict=True):
            assert replace(one, lq="") == replace(two, lq="")
            assert Path(one.lq).read_bytes() == Path(two.lq).read_bytes()


def test_the_lq_is_enlarged_before_it_is_rounded(rows: list[Row], monkeypatch) -> None:
    """x_L is the unrounded LQ through torch's interpolation, rounded once."""
    with monkeypatch.context() as patch:
        patch.setattr(degradation, "to_uint8", lambda image: image)
        raw = [
            degrade(manifest.load_hq(r), PRESET, seeding.rng(0, "degrade", r.name)) for r in rows
        ]
    assert any((lq != np.rint(lq)).any() for lq in raw)
    for row, lq in zip(rows, raw, strict=True):
        planes = torch.from_numpy(np.ascontiguousarray(lq)).permute(2, 0, 1)[None]
        wanted = torch.nn.functional.interpolate(planes, size=(64, 64), mode=row.enlarged)
        wanted = wanted[0].permute(1, 2, 0).clamp(0, 255).numpy()
        x = manifest.load_lq(row)
        assert np.abs(x - wanted).max() <= 0.51


def test_t_star_and_the_training_read_the_same_x_lq(rows: list[Row]) -> None:
    pairs_of = Pairs(rows, 4, None, seed=0, flip=False)
    trained = [pairs_of[position, position] for position in range(len(rows))]
    [(names, x_lq, x_hq)] = latent_moments._read(rows, 4)
    assert list(names) == [row.name for row in rows]
    for index, batch in enumerate(trained):
        assert torch.equal(batch.x_lq, x_lq[index])
        assert torch.equal(batch.x_hq, x_hq[index])
        assert torch.equal(x_lq[index], images.to_tensor(images.read_rgb(rows[index].lq)))


def test_crops_and_flips_of_a_training_fit_the_hq(rows: list[Row]) -> None:
    """Of x_L and of the LQ the same places are taken."""
    for position in range(12):
        row = replace(rows[0], lq=rows[0].hq, top=0, left=0, height=0, width=0)
        batch = Pairs([row], 4, 32, seed=3)[position, 0]  # the HQ in place of x_L
        assert batch.x_lq.shape == (3, 32, 32)
        assert torch.equal(batch.x_lq, batch.x_hq)
    small = replace(rows[0], hq=rows[0].lq, top=0, left=0, height=0, width=0)
    plain = replace(small, enlarged="")
    with pytest.raises(ValueError, match="is not 4 times LQ 64x64"):
        load_pair(plain, 4)
    with pytest.raises(ValueError, match=r"HQ 96x80 is not 1 times LQ 64x64; run `dvc repro -f"):
        load_pair(replace(small, hq=row.hq), 4)


def test_random_modes_lower_the_fidelity_of_x_lq(rows: list[Row]) -> None:
    """Bicubic from 8 bits is closer to the HQ than area, which repeats pixels."""
    found: dict[str, list[float]] = {mode: [] for mode in MODES}
    for row in rows:
        hq, rng = manifest.load_hq(row), seeding.rng(0, "degrade", row.name)
        bicubic = images.upscale(degrade(hq, PRESET, rng), 4)
        found[row.enlarged].append(_psnr(manifest.load_lq(row), hq) - _psnr(bicubic, hq))
    assert np.mean(found["area"]) < -0.1
    assert abs(np.mean(found["bicubic"])) < 0.1  # torch's bicubic rings more than Pillow's
    assert np.mean([*found["area"], *found["bilinear"], *found["bicubic"]]) < 0


def test_only_the_training_pairs_are_enlarged(source: list[Row], tmp_path: Path) -> None:
    one = replace(SETTINGS.benchmarks["realsr"], degradation="official", lq=None, paired=False,
                  hq=SETTINGS.data.train)  # fmt: skip
    plans = pairs.plans(SETTINGS.data, {"test": one}, SETTINGS.degradation, 0, "data/pairs")
    assert plans["train"] is not None
    assert plans["test"] is not None
    assert (plans["train"].enlarge, plans["test"].enlarge) == ("random", "bicubic")
    row = pairs.make_one(replace(plans["test"], folder="test/lq"), source[0], tmp_path)[0]
    assert not row.enlarged
    assert images.read_size(tmp_path / row.lq) == (20, 24)
    assert {config.load(Path(__file__).parents[2], p, ready=False).data.enlarge
            for p in ("mini", "real", "paper")} == {"bicubic"}  # fmt: skip


def test_a_manifest_without_enlarged_rows_is_as_before(source: list[Row], tmp_path: Path) -> None:
    manifest.write(tmp_path / "a.csv", source)
    assert "enlarged" not in (tmp_path / "a.csv").read_text(encoding="utf-8")
    manifest.write(tmp_path / "a.csv", [replace(source[0], enlarged="cubic")])
    with pytest.raises(ImageError, match="line 2: enlarged: got 'cubic', allowed: area, bilinear"):
        manifest.read(tmp_path / "a.csv")


def _psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))

"""Pairs: crops, names, bytes that depend on nothing but (seed, name), kills, bad images."""

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image
from skimage import data

from omgsr import config
from omgsr.core import images, parallel, seeding, workdir
from omgsr.core.image_files import ImageError
from omgsr.data import manifest, pairs
from omgsr.data.degradation import degrade
from omgsr.data.manifest import Row
from omgsr.data.pairs import Plan, boxes, fingerprint, make, make_one
from omgsr.data.settings import Benchmark, Folder, Images

ROOT = Path(__file__).parents[2]
PRESETS = config.load(ROOT, ready=False).degradation
PLAN = Plan(folder="set/lq", preset=PRESETS["realesrgan"], scale=4, seed=0, crop=64, random=3)


@pytest.fixture
def rows(tmp_path: Path) -> list[Row]:
    """Five HQ images of different sizes."""
    made = []
    for index in range(5):
        path = tmp_path / "hq" / f"photo{index}.png"
        images.write_png(path, data.astronaut()[: 90 + index, 100 * index // 2 :][:, :131])
        made.append(Row(name=f"photo{index}", hq=str(path)))
    return made


def digests(folder: Path) -> dict[str, str]:
    """Relative path => hash of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_bytes_depend_on_neither_workers_nor_order_nor_company(
    rows: list[Row], tmp_path: Path
) -> None:
    jobs = [(PLAN, row) for row in rows]
    alone = [made for _, made in make(jobs, tmp_path / "alone", workers=1)]
    together = [made for _, made in make(jobs, tmp_path / "together", workers=2)]
    assert together == alone
    assert digests(tmp_path / "together") == digests(tmp_path / "alone")
    list(make(jobs[::-1][:2], tmp_path / "reverse", workers=1))
    subset = digests(tmp_path / "reverse")
    assert len(subset) == 6
    assert subset.items() <= digests(tmp_path / "alone").items()
    other = [(replace(PLAN, seed=1), row) for row in rows]
    list(make(other, tmp_path / "other", workers=1))
    assert not set(digests(tmp_path / "other").values()) & set(subset.values())


def test_lq_is_the_degraded_crop_of_the_row(rows: list[Row], tmp_path: Path) -> None:
    for pair in make_one(PLAN, rows[0], tmp_path):
        rng = seeding.rng(PLAN.seed, "degrade", pair.name)
        expected = degrade(manifest.load_hq(pair), PLAN.preset, rng, PLAN.scale)
        lq = manifest.load_lq(replace(pair, lq=str(tmp_path / pair.lq)))
        np.testing.assert_array_equal(lq, expected)
        assert lq.shape == (16, 16, 3)


def test_random_crops_lie_inside_and_differ() -> None:
    plan = replace(PLAN, random=200)
    found = boxes(plan, Row(name="a"), (70, 64))
    assert [name for name, _ in found[:2]] == ["a_00", "a_01"]
    assert {box[0] for _, box in found} == set(range(7))  # both ends are possible
    assert {box[1:] for _, box in found} == {(0, 64, 64)}
    assert boxes(plan, Row(name="b"), (70, 64)) != [("b" + n[1:], box) for n, box in found]


def test_grid_is_centred_and_does_not_overlap() -> None:
    plan = replace(PLAN, random=0)
    found = [box for _, box in boxes(plan, Row(name="a"), (150, 64))]
    assert found == [(11, 0, 64, 64), (75, 0, 64, 64)]


def test_whole_image_is_cut_to_the_scale(rows: list[Row], tmp_path: Path) -> None:
    plan = replace(PLAN, crop=None, random=0, paired=False)
    (pair,) = make_one(plan, rows[3], tmp_path)  # 93 x 131
    assert pair == Row(name="photo3", lq="set/lq/photo3.png", height=92, width=128)
    assert images.read_rgb(tmp_path / pair.lq).shape == (23, 32, 3)


def test_names_stay_distinct(tmp_path: Path) -> None:
    """The crops of a and of a_00 do not meet."""
    found = [
        name for row in ("a", "a_00", "a_0") for name, _ in boxes(PLAN, Row(name=row), (64, 64))
    ]
    assert len(set(found)) == 9


def test_rows_with_lq_pass_unchanged(tmp_path: Path) -> None:
    row = Row(name="x", lq="somewhere/x.png")
    assert make_one(PLAN, row, tmp_path) == [row]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("crop", "message"),
    [(96, r"photo0\.png: 90 x 131 pixels, smaller than the crop \(96 x 96\); take")],
)
def test_too_small_an_image_is_named(
    crop: int, message: str, rows: list[Row], tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match=message):
        make_one(replace(PLAN, crop=crop), rows[0], tmp_path)
    with pytest.raises(ImageError, match=r"3 x 50 pixels, smaller than one pixel of the LQ"):
        boxes(replace(PLAN, crop=None), rows[0], (3, 50))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_damaged_image_stops_with_its_name(workers: int, rows: list[Row], tmp_path: Path) -> None:
    whole = Path(rows[2].hq).read_bytes()
    Path(rows[2].hq).write_bytes(whole[: len(whole) // 2])
    jobs = [(PLAN, row) for row in rows]
    with pytest.raises(ImageError, match=r"photo2\.png: is damaged"):
        list(make(jobs, tmp_path / "work", workers))
    kept = digests(tmp_path / "work")
    assert not [name for name in kept if "photo2" in name or ".tmp" in name]
    Path(rows[2].hq).write_bytes(whole)
    list(make(jobs, tmp_path / "work", workers))
    list(make(jobs, tmp_path / "fresh", workers=1))
    assert digests(tmp_path / "work") == digests(tmp_path / "fresh")
    assert kept.items() <= digests(tmp_path / "work").items()


def test_finished_files_are_kept(rows: list[Row], tmp_path: Path) -> None:
    (first, *_) = make_one(PLAN, rows[0], tmp_path)
    file = tmp_path / first.lq
    os.utime(file, (1, 1))
    others = [path for path in file.parent.iterdir() if path != file]
    others[0].unlink()
    make_one(PLAN, rows[0], tmp_path)
    assert file.stat().st_mtime == 1
    assert others[0].exists()


def test_finished_images_are_not_decoded_again(rows: list[Row], tmp_path: Path) -> None:
    first = make_one(PLAN, rows[0], tmp_path)
    file = Path(rows[0].hq)
    file.write_bytes(file.read_bytes()[:200])  # the header is whole, the pixels are gone
    assert make_one(PLAN, rows[0], tmp_path) == first
    (tmp_path / first[1].lq).unlink()
    with pytest.raises(ImageError, match="is damaged"):
        make_one(PLAN, rows[0], tmp_path)


def test_an_upright_photograph_lying_in_its_file(tmp_path: Path) -> None:
    """The header's size is that of the upright image, so that a resume finds the same boxes."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(data.astronaut()[:64, :200]).save(tmp_path / "a.jpg", exif=exif)
    plan, row = replace(PLAN, random=0), Row(name="a", hq=str(tmp_path / "a.jpg"))
    made = make_one(plan, row, tmp_path)
    assert [(pair.top, pair.left) for pair in made] == [(4, 0), (68, 0), (132, 0)]
    assert make_one(plan, row, tmp_path) == made


def test_pairs_of_a_reduced_image(rows: list[Row], tmp_path: Path) -> None:
    row = replace(rows[0], resize=64)  # 90 x 131 => 64 x 93
    pairs_ = make_one(PLAN, row, tmp_path)
    assert {pair.top for pair in pairs_} == {0}
    assert {pair.resize for pair in pairs_} == {64}
    for pair in pairs_:
        hq = manifest.load_hq(pair)
        assert hq.shape == (64, 64, 3)
        rng = seeding.rng(PLAN.seed, "degrade", pair.name)
        lq = images.read_rgb(tmp_path / pair.lq)
        np.testing.assert_array_equal(lq, degrade(hq, PLAN.preset, rng, PLAN.scale))
    with pytest.raises(ImageError, match="64 x 93 pixels, smaller than the crop"):
        make_one(replace(PLAN, crop=68), row, tmp_path)


def test_pairs_that_exist_are_cropped_at_their_centre(tmp_path: Path) -> None:
    hq = data.astronaut()[:148, :204]
    images.write_png(tmp_path / "hq.png", hq)
    images.write_png(tmp_path / "lq.png", hq[::4, ::4])  # 37 x 51
    plan = replace(PLAN, preset=None, crop=64, random=0)
    row = Row(name="a", hq=str(tmp_path / "hq.png"), lq=str(tmp_path / "lq.png"))
    (pair,) = make_one(plan, row, tmp_path)
    assert pair.lq == "set/lq/a.png"
    # As StableSR's test sets: (H - h) // 2 of the LQ, and four times that of the HQ.
    lq = images.read_rgb(tmp_path / pair.lq)
    np.testing.assert_array_equal(lq, hq[::4, ::4][10:26, 17:33])
    np.testing.assert_array_equal(manifest.load_hq(pair), hq[40:104, 68:132])
    np.testing.assert_array_equal(manifest.load_hq(pair)[::4, ::4], lq)
    assert make_one(plan, row, tmp_path) == [pair]
    (alone,) = make_one(plan, replace(row, hq=""), tmp_path)
    assert (alone.hq, alone.lq, alone.height) == ("", "set/lq/a.png", 0)
    assert make_one(replace(plan, crop=None), row, tmp_path) == [row]
    with pytest.raises(ImageError, match=r"lq\.png: 37 x 51 pixels, smaller than the crop of"):
        make_one(replace(plan, crop=160), row, tmp_path)


def plans_of(c: config.Config, folder: str) -> dict[str, Plan | None]:
    return pairs.plans(c.data, c.benchmarks, c.degradation, c.seed, folder)


def test_sets_with_lq_are_only_touched_to_be_cropped() -> None:
    lq = Images(folders=(Folder(path="lq"),))
    settings = config.load(ROOT, "mini")
    sets = {
        name: Benchmark(lq=lq, crop=crop, degradation=None, paired=False)
        for name, crop in (("whole", None), ("centre", 512))
    }
    found = plans_of(replace(settings, benchmarks=sets), "data/pairs")
    assert found["whole"] is None
    assert found["centre"] is not None
    assert (found["centre"].preset, found["centre"].crop) == (None, 512)


def test_small_images_are_skipped_where_the_plan_says_so(rows: list[Row], tmp_path: Path) -> None:
    plan = replace(PLAN, crop=92, skip_small=True)  # the heights are 90 to 94
    found = [len(made) for _, made in make([(plan, row) for row in rows], tmp_path, workers=1)]
    assert found == [0, 0, 3, 3, 3]
    settings = config.load(ROOT, "mini")
    assert {plan.skip_small for plan in plans_of(settings, "x").values() if plan} == {False}
    skipping = replace(settings, data=replace(settings.data, too_small="skip"))
    skips = {name: plan.skip_small for name, plan in plans_of(skipping, "x").items() if plan}
    assert [name for name, skip in skips.items() if skip] == ["train"]


def test_fingerprint_follows_everything_that_decides_the_bytes(rows: list[Row]) -> None:
    jobs = [(PLAN, row) for row in rows]
    first = fingerprint(jobs)
    assert first == fingerprint(jobs)
    others = [
        [(replace(PLAN, preset=PRESETS["light"]), row) for row in rows],
        [(replace(PLAN, seed=1), row) for row in rows],
        jobs[1:],
    ]
    file = Path(rows[0].hq)
    assert len({first, *map(fingerprint, others)}) == 4
    os.utime(file, (5, 5))
    assert fingerprint(jobs) != first


def slowly(number: int) -> int:
    """Later items are faster, so that the order of finishing is not that of the items."""
    time.sleep(0.05 if number % 8 == 0 else 0)
    if number == 70:
        raise ValueError("seventy")
    return number


@pytest.mark.parametrize("run", [parallel.ordered_map, parallel.threaded_map])
def test_results_come_in_order_and_items_are_taken_as_they_are_needed(
    run: Callable[..., Iterator[int]],
) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():  # without an end: nothing may collect it
            taken.append(number)
            yield number

    results = run(slowly, numbers(), workers=2)
    assert list(itertools.islice(results, 60)) == list(range(60))
    assert len(taken) <= 60 + 2 * parallel.AHEAD
    with pytest.raises(ValueError, match="seventy"):
        list(results)
    assert len(taken) <= 71 + 2 * parallel.AHEAD


def test_a_killed_worker_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="a worker process was killed, perhaps for want of memory"):
        list(parallel.ordered_map(os._exit, [3], workers=2))


def test_publish_replaces_and_drops_half_written_files(tmp_path: Path) -> None:
    for name, text in (("work/a.txt", "new"), ("work/s/.tmp-1-b.png", ""), ("out/old.txt", "old")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    workdir.publish(tmp_path / "work", tmp_path / "out")
    assert list(digests(tmp_path / "out")) == ["a.txt"]
    assert not (tmp_path / "work").exists()


def test_exclusive_makes_the_second_wait(tmp_path: Path) -> None:
    program = f"""
from pathlib import Path
from omgsr.core import workdir
with workdir.exclusive(Path({str(tmp_path / "w")!r})):
    print("in", flush=True)
"""
    with workdir.exclusive(tmp_path / "w"):
        second = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(3)
    assert second.communicate(timeout=60)[0] == b"in\n"


def test_a_folder_that_is_deleted_while_it_is_worked_in_is_said(tmp_path: Path) -> None:
    with workdir.exclusive(tmp_path / "w") as require:
        require()
        (tmp_path / "w").rmdir()
        (tmp_path / "w").mkdir()  # by the next file that is written
        with pytest.raises(FileNotFoundError, match="deleted while it was worked in"):
            require()


def test_exclusive_lets_one_in_although_each_removes_the_folder(tmp_path: Path) -> None:
    """As trainings of one run do, which remove their folder when they are done."""
    program = f"""
import os, shutil
from pathlib import Path
from omgsr.core import workdir
folder = Path({str(tmp_path / "w")!r})
for _ in range(1000):  # without a pause: the folder goes while others are about to open it
    with workdir.exclusive(folder):
        (folder / "mine").open("x").close()  # an error where another process is in
        shutil.rmtree(folder)
"""
    several = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=60)[1].decode() for process in several]
    assert [process.returncode for process in several] == [0] * 4, said


# The stage ------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A copy of the checkout's stage with a few small sets in data/source."""
    for name in ("omgsr", "stages", "configs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    settings = config.load(ROOT, "mini")
    for name in ("train", *settings.benchmarks):
        rows = []
        for index in range(24 if name == "train" else 1):
            path = Path(f"data/source/images/{name}{index}.png")
            images.write_png(tmp_path / path, np.roll(data.astronaut(), index, 0)[:230, :250])
            rows.append(Row(name=f"{name}{index}", hq=str(path)))
        manifest.write(tmp_path / f"data/source/{name}.csv", rows)
    return tmp_path


def start(workspace: Path) -> subprocess.Popen:
    environment = {**os.environ, "DVC_ROOT": str(workspace), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "stages.degrade"],
        cwd=workspace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_killed_stage_goes_on_to_the_same_bytes(workspace: Path) -> None:
    out, work = workspace / "data/pairs", workspace / "work"
    first = start(workspace)
    _, errors = first.communicate(timeout=240)
    assert first.returncode == 0, errors
    assert not any(work.iterdir())
    expected = digests(out)
    crops = config.load(workspace).data.crops_per_image
    # LQ images of the training set and the benchmarks, and their manifests.
    assert len(expected) == 24 * crops + 1 + 2 + 2 + 2 + 2
    pair = manifest.read(out / "train.csv")[crops + 1]
    assert (pair.name, pair.lq) == ("train1_01", "data/pairs/train/lq/train1_01.png")
    shutil.rmtree(out)  # as DVC does before it runs a stage

    second = start(workspace)
    while second.poll() is None and len(list(work.glob("*/data/pairs/train/lq/*.png"))) < 10:
        time.sleep(0.002)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    finished = {path: path.stat().st_mtime_ns for path in work.glob("*/data/pairs/*/lq/t*.png")}
    assert 10 <= len(finished) < 24 * crops
    assert not out.exists()

    third = start(workspace)
    _, errors = third.communicate(timeout=240)
    assert third.returncode == 0, errors
    assert digests(out) == expected
    for path, when in finished.items():  # kept, not made again
        assert (out / Path(*path.parts[-3:])).stat().st_mtime_ns == when


def test_a_damaged_image_stops_the_stage(workspace: Path) -> None:
    broken = workspace / "data/source/images/train3.png"
    broken.write_bytes(broken.read_bytes()[:500])
    stage = start(workspace)
    _, errors = stage.communicate(timeout=240)
    assert stage.returncode == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith("degrade: data/source/images/train3.png: is damaged")
    assert "Traceback" not in errors
    assert not (workspace / "data/pairs").exists()


def test_small_images_are_counted_by_the_stage(workspace: Path) -> None:
    images.write_png(workspace / "data/source/images/train3.png", data.astronaut()[:95, :250])
    stage = start(workspace)
    _, errors = stage.communicate(timeout=240)
    assert stage.returncode == 1
    assert "train3.png: 95 x 250 pixels, smaller than the crop (96 x 96)" in errors
    profile = workspace / "configs/mini.yaml"
    profile.write_text(
        profile.read_text().replace("  scale: 4\n", "  scale: 4\n  too_small: skip\n")
    )
    stage = start(workspace)
    said, errors = stage.communicate(timeout=240)
    assert stage.returncode == 0, errors
    assert said == "train: images smaller than the crop, skipped: 1\n"
    names = {row.name[:-3] for row in manifest.read(workspace / "data/pairs/train.csv")}
    assert len(names) == 23
    assert "train3" not in names


def test_a_missing_manifest_stops_the_stage(workspace: Path) -> None:
    (workspace / "data/source/train.csv").unlink()
    stage = start(workspace)
    _, errors = stage.communicate(timeout=240)
    assert stage.returncode == 1
    assert "data/source/train.csv" in errors.strip().splitlines()[-1]
    assert "dvc repro" in errors

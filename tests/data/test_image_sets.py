import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omgsr import config
from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.data import image_sets, manifest, photographs
from omgsr.data.settings import Benchmark, Folder, Images

ROOT = Path(__file__).parents[2]


def touch(folder, *names, side=8):
    """Tiny real images of different content."""
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (side, side), (index, 0, 0)).save(path)
    return Folder(path=str(folder))


def settings(train, **benchmarks):
    base = config.load(ROOT)
    return replace(base, data=replace(base.data, train=train), benchmarks=benchmarks)


def pairs(lq, hq):
    folders = {"lq": Images(folders=(lq,)), "hq": Images(folders=(hq,))}
    return Benchmark(**folders, crop=None, degradation=None, paired=True)


def made(hq):
    return Benchmark(hq=hq, crop=None, degradation="light", paired=False)


def run(config_, root):
    c = config_
    return dict(image_sets.manifests(c.data, c.benchmarks, c.seed, root / "images", root))


@pytest.mark.parametrize("name", photographs.PHOTOGRAPHS)
def test_every_photograph_is_installed_and_credited(name):
    path = photographs.locate(name)
    assert path.is_file()
    assert photographs.PHOTOGRAPHS[name]["credit"]
    array = images.read_rgb(path)
    assert array.std() > 5


def test_photographs_are_found_without_importing_their_packages():
    code = (
        "import sys; from omgsr.data import photographs\n"
        "for name in photographs.PHOTOGRAPHS: photographs.locate(name)\n"
        "print(sorted({'skimage', 'sklearn', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_photograph_is_refused():
    with pytest.raises(ValueError, match="unknown photograph 'lena'; allowed: astronaut"):
        photographs.locate("lena")


def test_packaged_and_generated_images_become_pngs_once(tmp_path):
    photos = Images(photographs=("camera",))
    test = Images(photographs=("chelsea",))
    sets = run(settings(photos, one=made(test), two=made(test)), tmp_path)
    assert list(sets) == ["train", "one", "two"]
    assert sets["one"] == sets["two"]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [
        "camera.png",
        "chelsea.png",
    ]
    expected = images.read_rgb(photographs.locate("chelsea"))
    np.testing.assert_array_equal(manifest.load_hq(sets["one"][0]), expected)
    assert sets["one"][0].lq == ""


def test_dead_leaves_differ_between_sets_and_not_between_runs(tmp_path):
    leaves = Images(dead_leaves=2)
    settings_ = settings(leaves, one=made(leaves), two=made(Images(dead_leaves=5)))
    first, second = run(settings_, tmp_path / "a"), run(settings_, tmp_path / "b")
    for name, rows in first.items():
        for row, again in zip(rows, second[name], strict=True):
            assert Path(row.hq).read_bytes() == Path(again.hq).read_bytes()
    assert [row.name for row in first["one"]] == ["leaves_000", "leaves_001"]
    assert len({Path(row.hq).read_bytes() for rows in first.values() for row in rows}) == 9
    assert {manifest.load_hq(row).shape for row in first["train"]} == {(256, 256, 3)}
    sizes = [manifest.load_hq(row).shape for row in first["two"]]
    assert len(set(sizes)) >= 4
    assert all(128 <= side <= 256 and side % 4 == 0 for size in sizes for side in size[:2])


def test_more_dead_leaves_leave_the_first_ones_as_they_are(tmp_path):
    few = run(settings(Images(dead_leaves=1)), tmp_path / "few")["train"]
    more = run(settings(Images(dead_leaves=2)), tmp_path / "more")["train"]
    assert Path(few[0].hq).read_bytes() == Path(more[0].hq).read_bytes()


def test_folders_are_searched_at_every_depth_and_stay_where_they_are(tmp_path):
    folder = touch(tmp_path / "set", "b.PNG", "a.jpg", "deep/er/a.JPEG", "c.d.png")
    rows = run(settings(Images(folders=(folder,))), tmp_path)["train"]
    assert {row.name: row.hq for row in rows} == {
        "a": str(tmp_path / "set/a.jpg"),
        "b": str(tmp_path / "set/b.PNG"),
        "c.d": str(tmp_path / "set/c.d.png"),
        "deep__er__a": str(tmp_path / "set/deep/er/a.JPEG"),
    }
    assert not (tmp_path / "images").exists()
    manifest.write(tmp_path / "train.csv", rows)
    assert manifest.read(tmp_path / "train.csv") == rows


def test_relative_folders_start_at_the_root(tmp_path):
    touch(tmp_path / "set", "a.png")
    assert image_sets.find(Folder(path="set"), tmp_path) == {"a": tmp_path / "set/a.png"}


def test_two_files_of_one_stem_keep_their_suffixes(tmp_path):
    folder = touch(tmp_path, "a.png", "a.jpg", "b.png", "deep/a.png")
    assert list(image_sets.find(folder, tmp_path)) == ["a.jpg", "a.png", "b", "deep__a"]


def test_names_do_not_depend_on_how_many_are_taken(tmp_path):
    folder = touch(tmp_path, "a.jpg", "a.png", "b.png")
    assert list(image_sets.find(replace(folder, first=1), tmp_path)) == ["a.jpg"]
    assert list(image_sets.find(replace(folder, first=99), tmp_path)) == ["a.jpg", "a.png", "b"]


def test_names_that_cannot_be_told_apart_are_refused(tmp_path):
    folder = touch(tmp_path, "x/a.png", "x__a.png")
    with pytest.raises(ImageError, match=r"two images would both be named 'x__a\.png'.*rename"):
        image_sets.find(folder, tmp_path)


def test_one_name_in_two_folders_is_refused(tmp_path):
    folders = touch(tmp_path / "a", "1.png"), touch(tmp_path / "b", "1.png")
    with pytest.raises(ImageError, match=r"'1'.*give one folder above both"):
        run(settings(Images(folders=folders)), tmp_path)
    both = run(settings(Images(folders=(Folder(path="."),))), tmp_path)["train"]
    assert [row.name for row in both] == ["a__1", "b__1"]


def test_a_folder_image_named_like_a_photograph_is_refused(tmp_path):
    folder = touch(tmp_path / "set", "chelsea.png")
    with pytest.raises(ImageError, match="both be named 'chelsea'"):
        run(settings(Images(photographs=("chelsea",), folders=(folder,))), tmp_path)


def test_empty_and_missing_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="holds no image"):
        image_sets.find(Folder(path=str(tmp_path)), tmp_path)
    with pytest.raises(ImageError, match="none: no such folder"):
        image_sets.find(Folder(path="none"), tmp_path)
    with pytest.raises(ImageError, match="path is null"):
        image_sets.find(Folder(path=None), tmp_path)


def test_a_list_gives_the_rows_of_its_folder(tmp_path):
    names = ("0001000/0000001.png", "0001000/0000002.png", "0002000/0001001.png")
    folder = touch(tmp_path / "HR/train", *names)
    (tmp_path / "train.txt").write_text("".join(f"HR/train/{name}\n" for name in names[::-1]))
    listed = run(settings(Images(folders=(Folder(path="train.txt"),))), tmp_path)["train"]
    assert listed == run(settings(Images(folders=(folder,))), tmp_path)["train"]
    assert [row.name for row in listed] == [
        "0001000__0000001", "0001000__0000002", "0002000__0001001",
    ]  # fmt: skip
    first = image_sets.find(Folder(path="train.txt", first=1), tmp_path)
    assert first == {"0001000__0000001": tmp_path / "HR/train/0001000/0000001.png"}


def test_the_expected_number_of_images_is_taken(tmp_path):
    folder = replace(touch(tmp_path / "set", "a/1.png", "a/2.png", "b/3.png"), expected=3)
    assert len(run(settings(Images(folders=(folder,))), tmp_path)["train"]) == 3
    two = replace(folder, first=2, expected=2)
    assert len(run(settings(Images(folders=(two,))), tmp_path)["train"]) == 2


@pytest.mark.parametrize(
    ("names", "first", "message"),
    [
        (("a/1.png", "b/2.png"), None, r"got 2 images in 2 folders, expected 3; often an archive"),
        (("a/1.png",), 3, r"got 1 images in 1 folder, expected 3"),
        (("1.png", "2.png", "3.png", "4.png"), None, r"got 4 images in 1 folder, expected 3"),
    ],
)
def test_another_number_of_images_is_refused(tmp_path, names, first, message):
    folder = replace(touch(tmp_path / "set", *names), first=first, expected=3)
    with pytest.raises(ImageError, match=f"set: {message}"):
        run(settings(Images(folders=(folder,))), tmp_path)


def test_the_rows_say_what_their_images_are_reduced_to(tmp_path):
    small = replace(touch(tmp_path / "ffhq", "0.png"), resize=512)
    folders = (touch(tmp_path / "lsdir", "1.png"), small)
    rows = run(settings(Images(photographs=("camera",), folders=folders)), tmp_path)["train"]
    assert {row.name: row.resize for row in rows} == {"camera": 0, "1": 0, "0": 512}
    test = run(settings(Images(dead_leaves=1), one=made(Images(folders=(small,)))), tmp_path)
    assert test["one"][0].resize == 512


def test_a_file_in_the_training_set_and_a_benchmark_is_refused(tmp_path):
    folder = touch(tmp_path / "all", "a.png", "test/b.png")
    below = made(Images(folders=(Folder(path="all/test"),)))
    with pytest.raises(
        ImageError, match=r"benchmarks\.one: 1 images are also in .*all/test/b\.png"
    ):
        run(settings(Images(folders=(folder,)), one=below), tmp_path)
    (tmp_path / "train.txt").write_text("all/a.png\n")
    train = Images(folders=(Folder(path="train.txt"),))
    assert len(run(settings(train, one=below), tmp_path)["one"]) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Images(folders=(Folder(path="a", first=5, expected=6),)),
            r"folders\[0\]\.expected: got 6, allowed: at most `first` \(5\)",
        ),
        (
            lambda: settings(Images(folders=(Folder(path="a", resize=64),))),
            r"folders\[0\]\.resize: got 64, allowed: at least the crop \(96\)",
        ),
        (
            lambda: replace(made(Images(folders=(Folder(path="a", resize=64),))), crop=128),
            r"resize: got 64, allowed: at least the crop \(128\)",
        ),
        (
            lambda: pairs(Folder(path="a", resize=64), Folder(path="b")),
            "LQ images exist already: resize must be null",
        ),
    ],
)
def test_sets_that_contradict_themselves_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("lq", "hq", "names"),
    [
        (["a.png", "b.png"], ["b.PNG", "a.jpg"], ["a", "b"]),
        # StableSR's layout: the LQ's ending on both sides
        (["Canon_1_LR4.png"], ["Canon_1_LR4.png"], ["Canon_1_LR4"]),
        (["Canon_1_LR4.png"], ["Canon_1_HR.png"], ["Canon_1"]),  # RealSR as published
        (["IMG_1_x4.png"], ["IMG_1_x1.png"], ["IMG_1"]),  # DRealSR as published
        (["t/a_LR4.png", "t/b_LR4.png"], ["t/a_HR.png", "t/b_HR.png"], ["t__a", "t__b"]),
    ],
)
def test_pairs_are_matched_by_name(tmp_path, lq, hq, names):
    benchmark = pairs(touch(tmp_path / "lq", *lq), touch(tmp_path / "hq", *hq, side=32))
    rows = run(settings(Images(dead_leaves=1), real=benchmark), tmp_path)["real"]
    assert [row.name for row in rows] == names
    for row in rows:
        stem = row.name.split("__")[-1]
        assert Path(row.lq).is_relative_to(tmp_path / "lq")
        assert Path(row.hq).is_relative_to(tmp_path / "hq")
        assert stem in Path(row.lq).stem
        assert stem in Path(row.hq).stem


def test_pairs_with_crossed_order_are_not_mixed_up(tmp_path):
    # Sorted order pairs 10 with 1_0 here; names do not.
    benchmark = pairs(
        touch(tmp_path / "lq", "1_LR4.png", "10_LR4.png"),
        touch(tmp_path / "hq", "1_HR.png", "10_HR.png", side=32),
    )
    rows = run(settings(Images(dead_leaves=1), real=benchmark), tmp_path)["real"]
    found = {row.name: (Path(row.lq).name, Path(row.hq).name) for row in rows}
    assert found == {"1": ("1_LR4.png", "1_HR.png"), "10": ("10_LR4.png", "10_HR.png")}


def test_images_without_a_partner_are_listed(tmp_path):
    benchmark = pairs(
        touch(tmp_path / "lq", "a.png", "b.png"), touch(tmp_path / "hq", "b.png", "c.png")
    )
    match = r"benchmarks\.real: 2 images without a partner of the same name: LQ a, HQ c; add"
    with pytest.raises(ImageError, match=match):
        run(settings(Images(dead_leaves=1), real=benchmark), tmp_path)


def test_a_long_list_of_partners_is_cut(tmp_path):
    lq = {f"{i:03d}": Path() for i in range(15)}
    with pytest.raises(ImageError, match=r"15 images without .*LQ 009 and 5 more; add"):
        image_sets.match(lq, {}, "benchmarks.real")


def test_stripping_an_ending_may_not_merge_two_images():
    two = {"a_LR2": Path("x"), "a_LR4": Path("y")}
    with pytest.raises(ImageError, match="both be named 'a'"):
        image_sets.match(two, {"a_HR": Path("z")}, "benchmarks.real")


def test_lq_only_sets_have_no_hq(tmp_path):
    lq = Images(folders=(touch(tmp_path / "lq", "1.jpg"),))
    benchmark = Benchmark(lq=lq, crop=None, degradation=None, paired=False)
    (row,) = run(settings(Images(dead_leaves=1), real=benchmark), tmp_path)["real"]
    assert (row.name, row.hq, row.lq) == ("1", "", str(tmp_path / "lq/1.jpg"))


def stage(folder, **environment):
    """The stage as DVC runs it, in a workspace of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-m", "stages.data"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.fixture
def workspace(tmp_path):
    """A workspace whose only images are in the folder photos/."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    lines = (ROOT / "configs/mini.yaml").read_text(encoding="utf-8").splitlines()
    begin, end = lines.index("data:"), lines.index("foundation:")
    sets = [
        "data: {train: {folders: [photos]}, crop: 96, crops_per_image: 1, scale: 4,",
        "       degradation: light, enlarge: bicubic}",
        "benchmarks:",
        "  test: {lq: {folders: [small]}, crop: null, degradation: null, paired: false}",
    ]
    text = "\n".join([*lines[:begin], *sets, *lines[end:]]) + "\n"
    (tmp_path / "configs/mini.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def test_the_stage_writes_a_manifest_a_set(workspace):
    touch(workspace / "photos", "a.png", "deep/b.png")
    touch(workspace / "small", "c.png")
    done = stage(workspace, DVC_ROOT=str(workspace))
    assert done.returncode == 0, done.stderr
    rows = manifest.read(workspace / "data/source/train.csv")
    assert [row.name for row in rows] == ["a", "deep__b"]
    assert [row.lq for row in manifest.read(workspace / "data/source/test.csv")] == [
        str(workspace / "small/c.png")
    ]


def test_a_temporary_experiment_finds_the_folders_of_the_workspace(workspace, tmp_path_factory):
    touch(workspace / "photos", "a.png")
    touch(workspace / "small", "c.png")
    copy = tmp_path_factory.mktemp("experiment")
    (copy / "configs").mkdir()
    for name in ("params.yaml", "configs/mini.yaml"):
        (copy / name).write_bytes((workspace / name).read_bytes())
    done = stage(copy, DVC_ROOT=str(workspace))
    assert done.returncode == 0, done.stderr
    (row,) = manifest.read(copy / "data/source/train.csv")
    assert row.hq == str(workspace / "photos/a.png")


def test_the_stage_stops_with_one_line(workspace):
    touch(workspace / "small", "c.png")
    done = stage(workspace)
    assert done.returncode == 1
    assert done.stderr == f"data: {workspace}/photos: no such folder\n"


def realsr_v3(folder):
    """RealSR as published: train and test, two cameras, three scales, LR and HR side by side."""
    for camera in ("Canon", "Nikon"):
        for index in range(3):
            for scale, side in ((2, 24), (4, 12)):
                stem = f"{camera}/{'Train' if index == 0 else 'Test'}/{scale}/{camera}_{index:03d}"
                touch(folder, f"{stem}_LR{scale}.png", side=side)
                touch(folder, f"{stem}_HR.png", side=48)
    return str(folder)


def test_realsr_as_published_is_taken_by_names(tmp_path):
    path = realsr_v3(tmp_path / "RealSR(V3)")
    benchmark = pairs(
        Folder(path=path, names="*__Test__4__*_LR4", expected=4),
        Folder(path=path, names="*__Test__4__*_HR", expected=4),
    )
    rows = run(settings(Images(dead_leaves=1), realsr=benchmark), tmp_path)["realsr"]
    assert [row.name for row in rows] == [
        f"{c}__Test__4__{c}_{i:03d}" for c in ("Canon", "Nikon") for i in (1, 2)
    ]
    assert {(Path(row.lq).name[-8:], Path(row.hq).name[-7:]) for row in rows} == {
        ("_LR4.png", "_HR.png")
    }


def test_names_and_first_count_together_and_do_not_rename(tmp_path):
    folder = touch(tmp_path, "a_LR4.png", "a_LR4.jpg", "b_LR4.png", "b_HR.png", "c_LR4.png")
    lq = replace(folder, names="*_LR4")
    assert list(image_sets.find(lq, tmp_path)) == ["a_LR4.jpg", "a_LR4.png", "b_LR4", "c_LR4"]
    assert list(image_sets.find(replace(lq, first=3), tmp_path))[-1] == "b_LR4"
    assert list(image_sets.find(replace(folder, names="[bc]_LR?"), tmp_path)) == ["b_LR4", "c_LR4"]


def test_a_pattern_that_fits_nothing_is_told_with_a_name_that_is_there(tmp_path):
    folder = replace(touch(tmp_path, "a.png", "b.png"), names="*_LR4", obtain="the shop")
    with pytest.raises(
        ImageError, match=r"none of its 2 images is named like '\*_LR4'; one of them is 'a'.*shop"
    ):
        image_sets.find(folder, tmp_path)


def test_images_of_another_size_are_refused(tmp_path):
    folder = touch(tmp_path / "lq", "a.png", "b.png")
    touch(tmp_path / "lq", "c.png", "d.png", side=9)

    def read(**options):
        lq = Images(folders=(replace(folder, **options),))
        test = Benchmark(lq=lq, crop=None, degradation=None, paired=False)
        return run(settings(Images(dead_leaves=1), real=test), tmp_path)["real"]

    with pytest.raises(
        ImageError, match=r"2 of 4 images are not 8 x 8 pixels: c \(9 x 9\), d .*Needed: a shop"
    ):
        read(side=8, obtain="a shop")
    assert len(read(side=8, names="[ab]")) == 2


def test_pairs_of_another_scale_are_refused(tmp_path):
    lq = touch(tmp_path / "lq", "a.png", "b.png", side=8)
    hq = touch(tmp_path / "hq", "a.png", side=32)
    touch(tmp_path / "hq", "b.png", side=8)
    with pytest.raises(
        ImageError, match=r"benchmarks\.real: 1 of 2 pairs .* 4 times .*: b \(8 x 8 and 8 x 8\)"
    ):
        run(settings(Images(dead_leaves=1), real=pairs(lq, hq)), tmp_path)


@pytest.mark.real
def test_realsr_is_matched_whole(real_data, tmp_path):
    real = real_data.resolve() / "realsr"
    benchmark = pairs(Folder(path=str(real / "test_LR")), Folder(path=str(real / "test_HR")))
    rows = run(settings(Images(dead_leaves=1), realsr=benchmark), tmp_path)["realsr"]
    assert len(rows) == 100
    assert manifest.load_lq(rows[0]).shape == (128, 128, 3)
    assert manifest.load_hq(rows[0]).shape == (512, 512, 3)


@pytest.mark.real
def test_the_shipped_test_photographs_are_the_centres_of_kodaks(real_data):
    """Cut and not resampled; a grid of 256 takes the same pixels from both."""
    kodak = real_data / "kodak"
    for index in range(1, 25):
        whole = images.read_rgb(kodak / f"{index:02d}.png")
        part = images.read_rgb(photographs.locate(f"kodak_{index:02d}"))
        top, left = ((a - b) // 2 for a, b in zip(whole.shape[:2], part.shape[:2], strict=True))
        assert min(part.shape[:2]) >= 256
        expected = whole[top : top + part.shape[0], left : left + part.shape[1]]
        np.testing.assert_array_equal(part, expected)

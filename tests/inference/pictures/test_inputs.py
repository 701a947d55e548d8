import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from omgsr.inference.pictures import inputs
from omgsr.inference.pictures.inputs import InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


OUT = Path("out")


def plan(given, output, suffix=".png", refused=None):
    """With `refused`, what cannot be used is named in it; without, nothing may be."""
    failed = [] if refused is None else refused
    found = inputs.plan(given, output, suffix, failed)
    if failed and refused is None:
        raise InputError("; ".join(failed))
    return found


def make(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".txt"):
            Path(name).write_text("")
        else:
            Image.new("RGB", (2, 2)).save(name)


def shown(plan):
    return {file.as_posix(): target.as_posix() for file, target in plan.items()}


def test_a_file_goes_below_the_output_by_its_name(here):
    make("deep/down/a.jpg")
    assert shown(plan(["deep/down/a.jpg"], OUT)) == {"deep/down/a.jpg": "out/a.png"}


def test_a_folder_is_mirrored(here):
    make("in/a.png", "in/x/b.jpg", "in/x/y/c.webp", "in/note.txt", "in/.hidden/d.png")
    assert shown(plan(["in"], OUT)) == {
        "in/a.png": "out/a.png",
        "in/x/b.jpg": "out/x/b.png",
        "in/x/y/c.webp": "out/x/y/c.png",
    }


def test_own_suffixes_are_kept_on_request(here):
    make("in/a.JPG", "in/b.tif")
    assert shown(plan(["in"], OUT, suffix=None)) == {
        "in/a.JPG": "out/a.JPG",
        "in/b.tif": "out/b.tif",
    }


def test_an_own_suffix_that_cannot_be_written_is_refused(here):
    make("a.png")
    Path("a.png").rename("a.jfif")
    assert shown(plan(["a.jfif"], OUT)) == {"a.jfif": "out/a.png"}
    with pytest.raises(InputError, match=r"a\.jfif.*'\.jfif'.*choose one of \.png"):
        plan(["a.jfif"], OUT, suffix=None)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("in/*.png", {"in/a.png": "out/a.png"}),
        ("in/*", {"in/a.png": "out/a.png"}),
        ("in/*/*.jpg", {"in/x/b.jpg": "out/x/b.png"}),
        ("in/?/[ab].jpg", {"in/x/b.jpg": "out/x/b.png"}),
        ("in/**/*.jpg", {"in/x/b.jpg": "out/x/b.png", "in/x/y/c.jpg": "out/x/y/c.png"}),
        ("*/x/b.jpg", {"in/x/b.jpg": "out/in/x/b.png"}),
        ("in/../in/*.png", {"in/../in/a.png": "out/a.png"}),
    ],
)
def test_patterns(here, pattern, expected):
    make("in/a.png", "in/x/b.jpg", "in/x/y/c.jpg", "in/note.txt")
    assert shown(plan([pattern], OUT)) == expected


def test_an_absolute_pattern_counts_from_its_first_folder_without_wildcard(here):
    make("in/x/b.jpg")
    found = plan([str(here / "in" / "**" / "*.jpg")], OUT)
    assert found == {here / "in/x/b.jpg": Path("out/x/b.png")}


def test_a_pattern_cannot_climb_out_of_its_folder(here):
    make("in/x/b.jpg", "other.jpg")
    with pytest.raises(InputError, match=r"outside in.*'\.\.'"):
        plan(["in/*/../../other.jpg"], OUT)


def test_a_file_whose_name_has_brackets_is_no_pattern(here):
    make("a[1].png", "a1.png")
    assert shown(plan(["a[1].png"], OUT)) == {"a[1].png": "out/a[1].png"}


def test_a_list_is_mirrored_from_the_folder_above_its_files(here):
    make("data/x/a.png", "data/y/b.jpg")
    Path("list.txt").write_text("# two\ndata/x/a.png\ndata/y/b.jpg\n")
    found = {file.resolve(): target for file, target in plan(["list.txt"], OUT).items()}
    assert found == {
        (here / "data/x/a.png").resolve(): Path("out/x/a.png"),
        (here / "data/y/b.jpg").resolve(): Path("out/y/b.png"),
    }


def test_a_list_with_a_missing_file_names_it(here):
    Path("list.txt").write_text("gone.png\n")
    with pytest.raises(ValueError, match=r"gone\.png"):
        plan(["list.txt"], OUT)


def test_equal_stems_keep_their_suffix(here):
    make("in/a.png", "in/A.jpg", "in/b.png")
    assert shown(plan(["in"], OUT)) == {
        "in/A.jpg": "out/A_jpg.png",
        "in/a.png": "out/a_png.png",
        "in/b.png": "out/b.png",
    }


def test_a_name_that_a_kept_suffix_takes_moves_as_well(here):
    make("in/a.png", "in/a.jpg", "in/a_png.png")
    assert shown(plan(["in"], OUT)) == {
        "in/a.jpg": "out/a_jpg.png",
        "in/a.png": "out/a_png.png",
        "in/a_png.png": "out/a_png_png.png",
    }


def test_names_do_not_depend_on_the_order_of_inputs(here):
    names = ["in/a.png", "in/a.jpg", "in/a_png.png", "in/b.webp"]
    make(*names)
    assert plan(names, OUT) == plan(names[::-1], OUT)


def test_one_name_from_two_folders_is_refused_with_both(here):
    make("one/a.png", "two/a.png")
    with pytest.raises(InputError, match=r"one/a\.png and two/a\.png: .* a_png\.png;"):
        plan(["one", "two"], OUT)
    with pytest.raises(InputError, match=r"one/a\.png and two/a\.png"):
        plan(["one/a.png", "two/a.png"], OUT)


def test_names_that_differ_in_case_alone_are_refused(here):
    make("in/a.png")
    make("in/A.png")
    if len(os.listdir("in")) == 1:
        pytest.skip("this file system has no case")
    with pytest.raises(InputError, match=r"in/A\.png and in/a\.png"):
        plan(["in"], OUT)


def test_a_file_given_twice_counts_once(here):
    make("in/a.png")
    Path("link.png").symlink_to("in/a.png")
    found = plan(["in/a.png", "in", "in/../in/a.png", "in/*.png", "link.png"], OUT)
    assert shown(found) == {"in/a.png": "out/a.png"}


def test_results_of_an_earlier_run_are_left_out(here):
    make("in/a.png", "in/out/a.png", "in/out/x/b.png", "in/output.png")
    expected = {"in/a.png": "in/out/a.png", "in/output.png": "in/out/output.png"}
    assert shown(plan(["in"], Path("in/out"))) == expected
    assert shown(plan(["in/**/*.png"], Path("in/out"))) == expected
    Path("in/a.png").unlink()
    Path("in/output.png").unlink()
    with pytest.raises(InputError, match=r"in: holds no image outside the output folder in/out"):
        plan(["in"], Path("in/out"))


def test_one_folder_for_input_and_output_is_refused(here):
    make("in/a.jpg")
    with pytest.raises(InputError, match=r"in: is both input and output.*in/restored"):
        plan(["in"], here / "in")


def test_an_output_that_is_an_input_is_refused(here):
    make("in/a.png", "in/b.jpg")
    with pytest.raises(InputError, match=r"in/a\.png.*would overwrite the input in/a\.png"):
        plan(["in/a.png"], Path("in"))
    assert shown(plan(["in/b.jpg"], Path("in"))) == {"in/b.jpg": "in/b.png"}


def test_an_output_that_links_to_another_input_is_refused(here):
    make("in/a.png", "b.jpg")
    OUT.mkdir()
    (OUT / "b.png").symlink_to("../in/a.png")
    with pytest.raises(InputError, match=r"b\.jpg: .*out/b\.png would overwrite .*in/a\.png"):
        plan(["in", "b.jpg"], OUT)


def test_a_file_and_a_folder_of_one_name_are_refused(here):
    make("in/a.jpg", "in/a.png/b.jpg")
    with pytest.raises(InputError, match=r"in/a\.jpg and in/a\.png/b\.jpg.*folder of the second"):
        plan(["in"], OUT)


@pytest.mark.parametrize("given", ["gone.png", "gone", "gone/*.png", "in/*.bmp", "in/*.txt"])
def test_nothing_found_is_an_error_that_names_the_input(here, given):
    make("in/a.png", "in/note.txt")
    with pytest.raises(ValueError, match=given.replace("*", r"\*")):
        plan(["in", given], OUT)


def test_an_empty_folder_and_no_input_at_all_are_errors(here):
    Path("empty").mkdir()
    with pytest.raises(ValueError, match="empty: holds no image"):
        plan(["empty"], OUT)
    with pytest.raises(InputError, match="no input given"):
        plan([], OUT)


def test_the_output_must_be_a_folder(here):
    make("a.png")
    with pytest.raises(InputError, match=r"a\.png: the output must be a folder"):
        plan(["a.png"], Path("a.png"))


def test_every_output_lies_below_the_output_folder(here):
    make("in/x/a.png", "up/b.png")
    os.chdir("in")
    found = plan(["x", "../up", "../up/*.png", Path("../in/x/a.png")], here / "out")
    for target in found.values():
        assert target.resolve().is_relative_to((here / "out").resolve())
    assert plan(["."], here / "out") == {Path("x/a.png"): here / "out/x/a.png"}


def test_inputs_that_cannot_be_used_do_not_stop_the_others(here):
    make("in/a.png", "empty/note.txt")
    refused = []
    given = ["empty", "gone.png", "*.jpg", "in"]
    assert shown(plan(given, OUT, refused=refused)) == {"in/a.png": "out/a.png"}
    assert len(refused) == 3
    for text, said in zip(("empty: holds no image", "gone.png: no such", "*.jpg: matches"), refused,
                          strict=True):  # fmt: skip
        assert text in said
    with pytest.raises(InputError, match="empty: holds no image"):
        plan(given, OUT)
    with pytest.raises(InputError, match=r"empty: holds no image.*; gone\.png: no such"):
        plan(["empty", "gone.png"], OUT, refused=[])


def test_a_link_to_nothing_is_an_input_that_fails_later(here):
    make("in/a.png")
    Path("in/b.png").symlink_to("/nowhere/b.png")
    assert shown(plan(["in"], OUT)) == {"in/a.png": "out/a.png", "in/b.png": "out/b.png"}


def test_an_output_below_a_file_is_refused(here):
    make("in/a.png", "file.png")
    for output in (Path("file.png"), Path("file.png/out")):
        with pytest.raises(InputError, match=r"must be a folder, and .*file\.png is a file"):
            plan(["in"], output)


def bound():
    """Takes root's right to pass permissions from the program that is started."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


PERMITTED = """
from pathlib import Path
from omgsr.core import images
from tests.inference.pictures.test_inputs import plan
def said(call, *given, **options):
    try:
        print([str(path) for path in call(*given, **options)], flush=True)
    except ValueError as error:
        print(error, flush=True)
refused = []
said(plan, ["in"], Path("out"), refused=refused)
print(refused)
said(plan, ["in"], Path("out"))
said(plan, ["in/locked"], Path("out"))
said(images.list_images, "in")
said(plan, ["in/a.png"], Path("ro"))
said(plan, ["in/a.png"], Path("ro/x/y"))
said(plan, ["in/d.png"], Path("ro"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="drops root's rights as Linux does")
def test_what_permissions_forbid_is_named(here):
    make("in/a.png", "in/d.png", "in/locked/b.png", "in/.hidden/c.png", "ro/d.png")
    for name, mode in (("in/locked", 0), ("in/.hidden", 0), ("ro", 0o555)):
        os.chmod(name, mode)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PERMITTED], capture_output=True, text=True, check=True,
            preexec_fn=bound if os.geteuid() == 0 else None,
            env={**os.environ, "PYTHONPATH": str(Path(inputs.__file__).parents[3])},
        )  # fmt: skip
    finally:
        for name in ("in/locked", "in/.hidden"):
            os.chmod(name, 0o700)
    locked = "in/locked: cannot be read: Permission denied"
    assert done.stdout.splitlines() == [
        "['in/a.png', 'in/d.png']",
        f"['{locked}']",
        *[locked] * 3,
        "ro: ro cannot be written; choose another output folder",
        f"ro/x/y: {here}/ro cannot be written; choose another output folder",
        "['in/d.png']",  # its result is there
    ]

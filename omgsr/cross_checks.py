"""What one section of the configuration says about another: every fault, as (key path, text).

A check looks at sections by name; it is left out where one that it needs is wrong by itself.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from omgsr.baselines.settings import KNOWN, needs
from omgsr.core.wording import Fault, unknown
from omgsr.data.settings import Images
from omgsr.method.settings import OFFICIAL_SIDE

_SD21 = ("sd21-base", "sd")  # `sd` is any model, of which only its user knows which
_RESERVED = {"train", "average"}  # a manifest and a table row of their own
# '-' separates variant, timestep and seed, so that no run has the name of a method.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+]*")
# DVC finds these by a path of keys, in which '.' separates.
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+]*")


def faults(sections: Mapping[str, Any], file: str) -> Iterator[Fault]:
    """Faults between those of the sections that are there; `file` is that of the profile."""
    for check, needed in (
        (_names, ()),
        (_variants, ("variants", "sweep")),
        (_methods, ("methods", "sweep", "benchmarks", "foundation")),
        (_presets, ("degradation", "data", "benchmarks")),
        (_references, ("score", "benchmarks")),
        (_crops, ("data", "train", "benchmarks")),
        (_shards, ("foundation", "train")),
        (_disjoint, ("data", "benchmarks")),
    ):
        if sections.keys() >= set(needed):
            yield from check(sections, file)


def _names(sections: Mapping[str, Any], _: str) -> Iterator[Fault]:
    """Names of variants, methods and benchmarks become folders, matrix items and table rows."""
    for key in ("variants", "methods", "degradation", "benchmarks", "ablations"):
        pattern, marks = (_KEY, "_ +") if key in ("variants", "methods") else (_NAME, "_ . +")
        if key not in sections:
            continue
        names = sections[key]
        if not names and key not in ("methods", "ablations"):
            yield (key,), "empty; at least one is needed"
        for name in names:
            if not pattern.fullmatch(name):
                yield (key,), f"got the name {name!r}, allowed: letters, digits and {marks}"
    for name in _RESERVED & set(sections.get("benchmarks", ())):
        yield ("benchmarks", name), "this name is taken; choose another"


def _variants(sections: Mapping[str, Any], _: str) -> Iterator[Fault]:
    used = {("sweep",): sections["sweep"], **_below("ablations", sections)}
    for path, section in used.items():
        yield from _unknown("variant", section.variants, sections["variants"], *path, "variants")


def _methods(sections: Mapping[str, Any], file: str) -> Iterator[Fault]:
    """Methods of the sweep are defined, have their path, and fit the foundation."""
    methods, backbone = sections["methods"], sections["foundation"].backbone
    for name in sections["sweep"].methods:
        if name not in methods:
            yield ("sweep", "methods"), unknown("unknown method", name, methods)
            continue
        method, path = methods[name], ("methods", name)
        known = KNOWN[method.kind]
        if known.path and method.path is None:
            yield path, needs(method.kind)
        own = method.benchmarks or ()
        yield from _unknown("benchmark", own, sections["benchmarks"], *path, "benchmarks")
        if known.foundation and backbone not in _SD21:
            yield path, (
                f"{method.kind} runs on SD2.1-base, but {file}: foundation.backbone is "
                f"{backbone!r}; take {name} out of sweep.methods or use {' or '.join(_SD21)}"
            )


def _presets(sections: Mapping[str, Any], _: str) -> Iterator[Fault]:
    presets = sections["degradation"]
    for path, section in {("data",): sections["data"], **_below("benchmarks", sections)}.items():
        named = [] if section.degradation is None else [section.degradation]
        yield from _unknown("degradation preset", named, presets, *path, "degradation")


def _references(sections: Mapping[str, Any], _: str) -> Iterator[Fault]:
    named, known = sections["score"].reference, sections["benchmarks"]
    yield from _unknown("benchmark", named, known, "score", "reference")


def _crops(sections: Mapping[str, Any], _: str) -> Iterator[Fault]:
    data, train = sections["data"], sections["train"]
    for path, section in {("train",): train, **_below("benchmarks", sections)}.items():
        if section.crop is not None and section.crop % data.scale:
            text = f"got {section.crop}, allowed: a multiple of data.scale ({data.scale})"
            yield (*path, "crop"), text
    if train.crop is not None and train.crop > data.crop:
        yield ("train", "crop"), f"got {train.crop}, allowed: at most data.crop ({data.crop})"
    side = train.crop or data.crop
    if train.heads == "official" and side < OFFICIAL_SIDE:
        key = "data.crop" if train.crop is None else "train.crop"
        text = f"got official, which takes {OFFICIAL_SIDE} px or more, but {key} is {side}; "
        yield ("train", "heads"), text + "set that to as much, or heads to map"


def _shards(sections: Mapping[str, Any], _: str) -> Iterator[Fault]:
    if sections["train"].shard and sections["foundation"].quantise:
        text = "got true, but foundation.quantise is set: weights in 4 bits are not shared; "
        yield ("train", "shard"), text + "set it to false, or foundation.quantise to null"


def _disjoint(sections: Mapping[str, Any], _: str) -> Iterator[Fault]:
    """Nothing that is trained on may be tested on."""
    trained = sections["data"].train
    for path, benchmark in _below("benchmarks", sections).items():
        for part in ("hq", "lq"):
            images: Images | None = getattr(benchmark, part)
            if images is None:
                continue
            shared = sorted(set(trained.photographs) & set(images.photographs))
            shared += sorted(_paths(trained) & _paths(images))
            if shared:
                yield (*path, part), (
                    f"also in data.train: {', '.join(shared)}; training and test images must be "
                    "disjoint, take them out of one"
                )


def _unknown(
    kind: str, names: Iterable[str], allowed: Collection[str], *path: str
) -> Iterator[Fault]:
    for name in names:
        if name not in allowed:
            yield path, unknown(f"unknown {kind}", name, allowed)


def _below(key: str, sections: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    return {(key, name): one for name, one in sections.get(key, {}).items()}


def _paths(images: Images) -> set[str]:
    # The data stage compares the files themselves; this finds the plain mistake before any work.
    return {os.path.normpath(folder.path) for folder in images.folders if folder.path}

"""What to restore and where to: files, folders, glob patterns and lists => {input: output}."""

import glob
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from omgsr.core import images
from omgsr.core.image_files import ImageError
from omgsr.data import image_lists

_LISTS = (".txt", ".json", ".parquet")


class InputError(ValueError):
    """Inputs that cannot be used as given; the message names them and what to do."""


def plan(
    inputs: Sequence[str | Path], output: Path, suffix: str | None, refused: list[str]
) -> dict[Path, Path]:
    """{input file: output file} in the order of the inputs; every output lies below `output`.

    An input is a file, a folder (every depth, mirrored below `output`), a quoted glob pattern
    (** is every depth; mirrored from its first folder without a wildcard) or a list of files as
    image_lists.py reads it. `suffix` None keeps each input's own. A file named twice counts once.
    Files that would get one name all keep their suffix in it: a_png.png, a_jpg.png.

    Inputs that are missing, empty or locked are named in `refused`, and the others planned. An
    InputError says that there are none, or names two that still collide and an output that cannot
    be written or would overwrite an input.
    """
    found: dict[Path, tuple[Path, Path]] = {}  # the real file => as it was found, relative
    for given in inputs:
        for file, relative in _usable(given, output, refused):
            found.setdefault(file.resolve(), (file, relative))
    if not found:
        none = "no input given: name files, folders, patterns or lists of images"
        raise InputError("; ".join(refused) or none)
    names = _names(list(found.values()), suffix)
    targets = {file: output / name for file, name in names.items()}
    _keep_inputs(targets)
    if not all(target.exists() for target in targets.values()):
        _require_writable(output)
    return targets


def _usable(given: str | Path, output: Path, failed: list[str]) -> list[tuple[Path, Path]]:
    """The files of one input; what cannot be used is named in `failed`."""
    locked: list[Path] = []
    try:
        found = _expand(given, output, locked)
    except (InputError, ImageError) as error:
        found = []
        failed += [] if locked else [str(error)]
    failed += [f"{folder}: cannot be read: Permission denied" for folder in locked]
    return found


def _require_writable(output: Path) -> None:
    """Refuses an output folder that cannot be made or written, before any work."""
    above = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not above.is_dir():
        raise InputError(f"{output}: the output must be a folder, and {above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{output}: {above} cannot be written; choose another output folder")


def _expand(given: str | Path, output: Path, locked: list[Path]) -> list[tuple[Path, Path]]:
    """The files of one input, each with its path below the output folder."""
    path = Path(given)
    if path.is_dir():
        return _mirrored(path, images.list_images(path, locked), output)
    if path.is_file():
        if path.suffix.lower() not in _LISTS:
            return [(path, Path(path.name))]
        root, below = image_lists.files(path)
        return [(root / file, file) for file in below]
    if glob.has_magic(str(given)):
        return _matched(str(given), output)
    raise InputError(f"{given}: no such file or folder")


def _matched(pattern: str, output: Path) -> list[tuple[Path, Path]]:
    parts = Path(pattern).parts
    wild = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:wild])
    found = sorted(
        Path(name)
        for name in glob.glob(pattern, recursive=True)
        if name.lower().endswith(images.EXTENSIONS) and os.path.isfile(name)
    )
    if not found:
        raise InputError(
            f"{pattern}: matches no image ({' '.join(images.EXTENSIONS)}); "
            "** stands for folders of every depth"
        )
    return _mirrored(root, found, output)


def _mirrored(root: Path, found: Sequence[Path], output: Path) -> list[tuple[Path, Path]]:
    """Files with their paths from `root`, without the results of an earlier run."""
    results = output.resolve()
    if results == root.resolve():
        raise InputError(
            f"{root}: is both input and output, and results would be taken for inputs by the next "
            f"run; choose another output folder, such as {root / 'restored'}"
        )
    if results.is_relative_to(root.resolve()):
        found = [file for file in found if not file.resolve().is_relative_to(results)]
    if not found:
        raise InputError(f"{root}: holds no image outside the output folder {output}")
    return [(file, _below(file, root)) for file in found]


def _below(file: Path, root: Path) -> Path:
    relative = Path(os.path.relpath(os.path.normpath(file), os.path.normpath(root)))
    if relative.parts[0] == "..":
        raise InputError(f"{file}: lies outside {root or '.'}; leave '..' out of the pattern's end")
    return relative


def _names(found: Sequence[tuple[Path, Path]], suffix: str | None) -> dict[Path, Path]:
    """{file: output name}; names differ in more than upper and lower case."""
    names = {file: _named(file, relative, suffix) for file, relative in found}
    plain = dict(found)
    while clashes := _clashes(names):
        for group in clashes:
            movable = [file for file in group if file in plain]
            if not movable:
                raise InputError(
                    f"{group[0]} and {group[1]}: both would be written to {names[group[0]]}; "
                    "restore them into two output folders, or give the folder above both"
                )
            for file in movable:
                relative = plain.pop(file)
                kept = f"{relative.stem}_{relative.suffix[1:].lower()}"
                names[file] = relative.with_name(kept + names[file].suffix)
    _keep_folders(names)
    return names


def _named(file: Path, relative: Path, suffix: str | None) -> Path:
    if suffix is not None:
        return relative.with_name(relative.stem + suffix)
    if relative.suffix.lower() not in images.EXTENSIONS:
        raise InputError(
            f"{file}: images are not written as {relative.suffix or 'a name without suffix'!r}; "
            f"choose one of {' '.join(images.EXTENSIONS)} for the outputs"
        )
    return relative


def _clashes(names: dict[Path, Path]) -> list[list[Path]]:
    groups = defaultdict(list)
    for file, name in names.items():
        groups[_folded(name)].append(file)
    return [group for group in groups.values() if len(group) > 1]


def _keep_folders(names: dict[Path, Path]) -> None:
    """Refuses a file whose name another output needs for its folder."""
    taken = {_folded(name): file for file, name in names.items()}
    for file, name in names.items():
        for parent in name.parents:
            if other := taken.get(_folded(parent)):
                raise InputError(
                    f"{other} and {file}: the first would be written to {parent}, which is the "
                    "folder of the second; restore them into two output folders"
                )


def _folded(name: Path) -> str:
    return name.as_posix().casefold()


def _keep_inputs(targets: dict[Path, Path]) -> None:
    """Refuses outputs that are inputs; links and file systems without case are seen through."""
    inputs = {_identity(file): file for file in targets if file.exists()}  # no dangling links
    for file, target in targets.items():
        if target.exists() and (hit := inputs.get(_identity(target))):
            raise InputError(
                f"{file}: its output {target} would overwrite the input {hit}; "
                "choose another output folder"
            )


def _identity(file: Path) -> tuple[int, int]:
    status = os.stat(file)
    return status.st_dev, status.st_ino

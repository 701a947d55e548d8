"""The methods beside OMGSR: what each needs, where its weights are had, and under what terms."""

from pathlib import Path

from omgsr.core import files
from omgsr.core.settings import parse, section


@section
class Known:
    """A kind of method."""

    path: str = ""
    """What its `path` is; '' for a method without."""
    obtain: str = ""
    """Where to get that."""
    licence: str = ""
    """Terms of the weights."""
    options: tuple[str, ...] = ()
    """Names of the options that it takes."""
    foundation: bool = False
    """Whether it runs on the foundation, which is then SD2.1-base."""


_FILE = Path(__file__).with_name("methods.json")
KNOWN = parse(dict[str, Known], files.read_json(_FILE), _FILE.name)
"""Kinds of params.yaml; all but `folder` restore images themselves."""


def needs(kind: str) -> str:
    """What a method lacks whose path is not given, and where to get it."""
    known = KNOWN[kind]
    return f"{kind} needs `path`: {known.path}. {known.obtain}. Licence: {known.licence}"

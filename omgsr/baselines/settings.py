"""Methods beside OMGSR: what every kind needs, and section `methods` of params.yaml, by name."""

from pathlib import Path
from typing import Any, Literal

from omgsr.core import files
from omgsr.core.settings import Count, Whole, parse, section


@section
class Known:
    """A kind of method: its weights, where they are had, and under what terms."""

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


@section
class MethodOptions:
    """How a method is run; null is its own default, and methods.json says which takes what."""

    dtype: Literal["fp32", "bf16", "fp16"] | None = None
    """Arithmetic of its networks."""
    color: Literal["adain", "wavelet", "none"] | None = None
    """How colours are aligned with the LQ image."""
    latent: Literal["mode", "sample"] | None = None
    """What stands for an encoded image."""
    prompt: str | None = None
    """Another prompt than the foundation's."""
    lambda_pix: float | None = None
    """Weight of PiSA-SR's pixel adapter."""
    lambda_sem: float | None = None
    """Weight of what PiSA-SR's semantic adapter adds."""
    seed: Whole | None = None
    """Of the latents' samples."""
    tile: Count | None = None
    """Side of a tile, pixels of the output."""
    overlap: Whole | None = None
    """Pixels that two tiles share."""
    process_size: Count | None = None
    """Smallest side that is restored; smaller images are enlarged for it."""

    @property
    def given(self) -> dict[str, Any]:
        """Those that are set."""
        return {name: value for name, value in vars(self).items() if value is not None}


@section
class Method:
    """A method beside OMGSR, restored and scored like a run."""

    kind: Literal["bicubic", "lanczos", "realesrgan", "osediff", "pisasr", "folder"]
    """What restores the images; `folder` takes outputs that are there already."""
    path: str | None = None
    """Its weights, or for `folder` the outputs: <benchmark>/<image>.png."""
    options: MethodOptions = MethodOptions()
    """How it is run."""
    benchmarks: tuple[str, ...] | None = None
    """The benchmarks that it stands in; null is all of them."""

    def __post_init__(self) -> None:
        allowed = KNOWN[self.kind].options
        for name in self.options.given:
            if name not in allowed:
                listed = ", ".join(allowed) or "none"
                raise ValueError(
                    f"options: {self.kind} takes no option {name!r}; allowed: {listed}"
                )
        if self.benchmarks is not None and not self.benchmarks:
            raise ValueError("benchmarks: empty; name at least one, or leave it out for all")
        if self.path is not None and not KNOWN[self.kind].path:
            raise ValueError(
                f"path: got {self.path!r}, but {self.kind} has no weights; leave it out"
            )

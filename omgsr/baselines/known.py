"""The methods beside OMGSR: what each needs, where its weights are had, and under what terms."""

from dataclasses import dataclass

_ONE_STEP = ("color", "dtype", "latent", "prompt", "tile", "overlap", "process_size", "seed")


@dataclass(frozen=True, kw_only=True)
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


KNOWN = {
    "bicubic": Known(),
    "lanczos": Known(),
    "realesrgan": Known(
        path="RealESRGAN_x4plus.pth, another RRDBNet of its releases, or that as .safetensors",
        obtain="release v0.1.0 of xinntao/Real-ESRGAN on GitHub has RealESRGAN_x4plus.pth, v0.2.1 "
        "RealESRGAN_x2plus.pth",
        licence="BSD-3-Clause",
        options=("dtype", "tile", "overlap"),
    ),
    "osediff": Known(
        path="osediff.pkl, or the folder that `omgsr convert` makes of it",
        obtain="cswry/OSEDiff on GitHub has it as preset/models/osediff.pkl",
        licence="Apache-2.0",
        options=_ONE_STEP,
        foundation=True,
    ),
    "pisasr": Known(
        path="pisa_sr.pkl, or the folder that `omgsr convert` makes of it",
        obtain="the README of csslc/PiSA-SR on GitHub links to it",
        licence="Apache-2.0 by its README; the repository has no licence file",
        options=(*_ONE_STEP, "lambda_pix", "lambda_sem"),
        foundation=True,
    ),
    "folder": Known(
        path="a folder of outputs, <benchmark>/<image>.png",
        obtain="any method's own program writes them",
        licence="that of the method",
    ),
}
"""Kinds of params.yaml; all but `folder` restore images themselves."""


def needs(kind: str) -> str:
    """What a method lacks whose path is not given, and where to get it."""
    known = KNOWN[kind]
    return f"{kind} needs `path`: {known.path}. {known.obtain}. Licence: {known.licence}"

"""Methods beside OMGSR behind its interface, for comparisons: by name, with weights by path."""

from pathlib import Path
from typing import Any

from omgsr.baselines.settings import KNOWN, needs
from omgsr.inference.method import Method

# What needs torch is imported when it is asked for: `omgsr --help` lists the names.

NAMES = tuple(name for name in KNOWN if name != "folder")
"""What `load` knows."""


def load(
    name: str,
    *,
    path: Path | str | None = None,
    foundation: Path | str | None = None,
    device: Any,
    color: str = "adain",
    **options: Any,
) -> Method:
    """A method by its name, ready for images.

    `path` are the weights of those that have any, `foundation` the folder of the stage of that name
    for those that run on SD2.1-base. `color` is how these take the colours of the LQ image; the
    others have them by themselves. `options` are those of `settings.KNOWN`. The method may have
    `notes`: lines that say where it departs from its authors' program.

    Raises ValueError for an unknown name or option and for a missing path, and says where to get
    the weights and under what terms.
    """
    if name not in NAMES:
        raise ValueError(f"method {name!r} is unknown; allowed: {', '.join(NAMES)}")
    known = KNOWN[name]
    for option in sorted(options.keys() - set(known.options)):
        allowed = ", ".join(known.options) or "none"
        raise ValueError(f"{name} takes no option {option}; allowed: {allowed}")
    if known.path and path is None:
        raise ValueError(needs(name))
    if path is not None and not known.path:
        raise ValueError(f"{name} has no weights; leave its path out")
    if path is not None and not Path(path).exists():
        raise FileNotFoundError(f"{path}: not there; {needs(name)}")
    if known.foundation and foundation is None:
        raise ValueError(
            f"{name} needs a foundation of SD2.1-base; `dvc repro foundation` makes the folder"
        )
    if known.foundation:
        options["color"] = color
    return _build(name, path, foundation, device, options)


def _build(name: str, path: Any, foundation: Any, device: Any, options: dict[str, Any]) -> Method:
    if name in ("bicubic", "lanczos"):
        from omgsr.baselines.resampling import Resampling

        return Resampling(name)  # type: ignore[arg-type]
    if name == "realesrgan":
        from omgsr.baselines.realesrgan import RealESRGAN

        return RealESRGAN.from_file(path, device=device, **options)
    from omgsr.baselines import one_step

    return one_step.load(name, path, foundation, device=device, **options)

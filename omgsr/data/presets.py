"""The numbers of a degradation, as params.yaml gives them; each class checks its own ranges."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from omgsr.core.settings import Fraction, Weight, section

Pair = tuple[float, float]

MODES = ("area", "bilinear", "bicubic")
"""How a resize interpolates, as `torch.nn.functional.interpolate` calls it."""


def _pair(lowest: float, highest: float, around: float | None = None) -> AfterValidator:
    """Refuses a range that is reversed, leaves lowest..highest, or does not hold `around`."""
    middle = "" if around is None else f"{around} <= "
    allowed = f"[low, high], {lowest} <= low <= {middle}high <= {highest}"

    def check(pair: Pair) -> Pair:
        low, high = pair
        if not lowest <= low <= (high if around is None else around) <= high <= highest:
            raise ValueError(f"got {list(pair)}, allowed: {allowed}")
        return pair

    return AfterValidator(check)


def _check_weights(*weights: float) -> None:
    if not any(weights):
        raise ValueError(f"got weights {list(weights)}, allowed: not all of them 0")


def _odd(sizes: tuple[int, int]) -> tuple[int, int]:
    """Refuses kernel sides that are even, reversed or too large."""
    if not (1 <= sizes[0] <= sizes[1] <= 99 and sizes[0] % 2 and sizes[1] % 2):
        raise ValueError(f"got {list(sizes)}, allowed: two odd numbers, low <= high <= 99")
    return sizes


Sizes = Annotated[tuple[int, int], AfterValidator(_odd)]
Quality = Annotated[tuple[int, int], _pair(1, 100)]
Cutoff = Annotated[Pair, _pair(0.01, 1)]  # basicsr's formula is singular at 0, 1 cuts nothing
Exponent = Annotated[Pair, _pair(1e-9, 100, around=1)]


@section
class Kinds:
    """Relative weights of the blur kernels' shapes; a weight of 0 leaves a shape out.

    A plain shape is a Gaussian. With the squared distance d, the generalized ones are
    exp(-d^beta / 2) and the plateaus 1 / (1 + d^beta). `iso` is equally wide in all directions,
    `aniso` stretched and turned.
    """

    iso: Weight
    aniso: Weight
    generalized_iso: Weight
    generalized_aniso: Weight
    plateau_iso: Weight
    plateau_aniso: Weight

    def __post_init__(self) -> None:
        _check_weights(*vars(self).values())


@section
class Sinc:
    """Circular low-pass filter, which rings as over-sharpened pictures do."""

    probability: Fraction
    """How often it is applied; inside a `Blur`: in place of the blur kernel."""
    cutoff: Cutoff
    """Cut-off frequency of small kernels, in units of pi per pixel, drawn uniformly."""
    wide_from: int
    """Kernels of this side or more take `wide_cutoff`."""
    wide_cutoff: Cutoff


@section
class Blur:
    """How one blur kernel is drawn."""

    probability: Fraction
    """How often the image is blurred at all."""
    sizes: Sizes
    """Smallest and largest side of a kernel, pixels, both odd; every odd side is equally likely."""
    kinds: Kinds
    """Weights of the shapes."""
    sigma: Annotated[Pair, _pair(0.05, 100)]
    """Standard deviation along each axis, pixels, drawn uniformly."""
    # Exponents of the generalized Gaussian and the plateau: under and over 1 are equally likely.
    beta_generalized: Exponent
    beta_plateau: Exponent
    sinc: Sinc
    """The sinc filter that takes the kernel's place now and then."""


@section
class Resize:
    """A resize by a random factor, in one of three modes at random (area, bilinear, bicubic)."""

    # Relative weights of a factor uniform in [1, range[1]], of one in [range[0], 1], and of 1.
    up: Weight
    down: Weight
    keep: Weight
    range: Annotated[Pair, _pair(0.01, 10, around=1)]
    """Smallest and largest factor."""

    def __post_init__(self) -> None:
        _check_weights(self.up, self.down, self.keep)


@section
class Noise:
    """Gaussian noise or, otherwise, Poisson noise."""

    gaussian: Fraction
    """How often the noise is Gaussian."""
    sigma: Annotated[Pair, _pair(0, 255)]
    """Standard deviation of Gaussian noise, grey levels of 255, drawn uniformly."""
    poisson: Annotated[Pair, _pair(0, 100)]
    """Factor of Poisson noise, drawn uniformly."""
    grey: Fraction
    """How often the noise is the same in all channels."""


@section
class Round:
    """One round of degradation."""

    blur: Blur
    resize: Resize
    noise: Noise
    jpeg: Quality
    """Lowest and highest JPEG quality, 1..100, drawn uniformly."""


@section
class Final:
    """The last sinc filter, and its place."""

    sinc: Sinc
    sizes: Sizes
    """Smallest and largest side of the sinc kernel, pixels, both odd."""
    jpeg_last: Fraction
    """How often the second JPEG follows the last resize and sinc; otherwise it precedes them."""


@section
class Preset:
    """All numbers of a degradation."""

    usm: bool
    """Whether the HQ image is sharpened (unsharp masking) before it is degraded."""
    first: Round
    second: Round
    """Its JPEG is the one around the last resize."""
    final: Final
    jpeg: Literal["real", "diff"]
    """The codec: `real`, libjpeg's; `diff`, basicsr's DiffJPEG, which repeats chroma pixels 2 x 2,
    takes qualities that are no whole numbers and rounds no pixel, as Real-ESRGAN is trained."""
    resize: Literal["aligned", "scale_factor"]
    """The first resize: `aligned` keeps the field of view; `scale_factor` cuts up to one pixel of
    the smaller image off its far edges, as Real-ESRGAN's does. The others are always aligned."""

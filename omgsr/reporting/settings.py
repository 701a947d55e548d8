"""Settings of the reports: what an ablation may show."""

from typing import Literal

from omgsr.core.settings import section


@section
class Claim:
    """A statement of the paper that an ablation can show or not (reporting/claims.py).

    `first` and `second` name a variant, a timestep, of which the nearest is taken, or t* (`auto`).
    """

    says: str
    """The statement, in words."""
    kind: Literal["above", "worst", "plateau"]
    """`first` has a higher composite than `second`, or the lowest of all, or one within the seeds'
    spread of the best."""
    first: str | int
    second: str | int = ""
    """For `above` alone."""

    def __post_init__(self) -> None:
        if (self.kind == "above") != (self.second != ""):
            raise ValueError("second: `above` needs it, and no other kind takes it")

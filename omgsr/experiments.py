"""Runs by name: the sweep of a pipeline and the ablations, each variants x timesteps x seeds."""

from itertools import product
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, PlainValidator

from omgsr.core.settings import Whole, once, one_or_more, section
from omgsr.reporting.settings import Claim


def _timestep(value: Any) -> Any:
    if value == "auto" or (type(value) is int and 1 <= value <= 999):
        return value
    raise ValueError(f"got {value!r}, allowed: auto or a whole number 1..999")


Timestep = Annotated[Literal["auto"] | int, PlainValidator(_timestep)]
Timesteps = Annotated[tuple[Timestep, ...], AfterValidator(one_or_more)]
Names = Annotated[tuple[str, ...], AfterValidator(one_or_more)]
Seeds = Annotated[tuple[Whole, ...], AfterValidator(one_or_more)]


class Run(NamedTuple):
    """One training of a sweep or an ablation."""

    variant: str
    """Name of its losses."""
    t: str
    """`auto` or a number, as in sweep.timesteps."""
    seed: int
    """Of its fresh weights, order and noise."""

    @property
    def name(self) -> str:
        """Its folder below runs/, and what DVC calls its stages: <stage>@<name>."""
        return f"{self.variant}-{self.t}-{self.seed}"


class _Product:
    """What has variants, timesteps and seeds."""

    variants: tuple[str, ...]
    timesteps: tuple[str | int, ...]
    seeds: tuple[int, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, in the order of the axes."""
        axes = self.variants, map(str, self.timesteps), self.seeds
        return tuple(Run(*one) for one in product(*axes))


@section
class Sweep(_Product):
    """The runs of a pipeline, every variant at every timestep with every seed; methods beside."""

    variants: Names
    """Names out of `variants`."""
    timesteps: Timesteps
    """`auto` for the t* that the timestep stage computes, or 1..999."""
    seeds: Seeds
    """Seeds of training: fresh weights, order and noise; data and t* have the root `seed`."""
    methods: Annotated[tuple[str, ...], AfterValidator(once)]
    """Names out of `methods`; may be empty."""


@section
class Ablation(_Product):
    """A comparison of runs that one command makes: every variant at every timestep, every seed."""

    title: str
    """What is compared."""
    variants: Names
    timesteps: Timesteps
    seeds: Seeds
    """Seeds of training; several of them give a spread."""
    table: Literal[1, 2, 4, 5] | None = None
    """The paper's table that it repeats."""
    claims: tuple[Claim, ...] = ()
    """What the paper says of it, to be judged by the runs."""
    limits: tuple[str, ...] = ()
    """What its result does not show, a sentence each."""

    @property
    def axes(self) -> tuple[tuple[str, ...], tuple[str | int, ...], tuple[int, ...]]:
        """Variants, timesteps and seeds."""
        return self.variants, self.timesteps, self.seeds

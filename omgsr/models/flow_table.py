"""Which sigma is timestep t of a flow-matching model, and what fixes that (Eq. 16).

    s_t = t / steps,      sigma_t = a s_t / (1 + (a - 1) s_t) = a / (a + 1 / s_t - 1)

The shift a is one number (`static`), or depends on how many tokens an image has: a = e^mu
(`exponential`) or mu (`linear`), where mu is linear in tokens. A table has one resolution, so that
t means the same whatever the size of an image: the paper's t = 244 is of FLUX.1-dev at 1024 px,
a = e^1.15, in 999 steps: sigma = 0.50511.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

Rule = Literal["static", "exponential", "linear"]
_BASE = {"base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
_OTHER = ("invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
"""Settings of a scheduler that would give another sigma to the same t."""


@dataclass(frozen=True, kw_only=True)
class FlowTable:
    """What fixes sigma at every t; kept in foundation.json and so in the run card."""

    steps: int
    """t = 0 is the clean image and t = steps noise alone: neither is a timestep."""
    rule: Rule
    shift: float
    """a above; 1 leaves sigma = s."""
    resolution: int | None = None
    """Side in pixels that the shift is of; None where it depends on none."""

    def __post_init__(self) -> None:
        if self.steps < 2 or not self.shift > 0:
            raise ValueError(
                f"a table of flow matching needs 2 steps or more and a shift above 0, got "
                f"{self.steps} and {self.shift}"
            )

    @classmethod
    def from_scheduler(
        cls, config: Mapping[str, Any], token: int, resolution: int | None, steps: int | None = None
    ) -> Self:
        """The table of a FlowMatchEulerDiscreteScheduler's configuration.

        `token` is the side of a token in pixels; `steps` of None are the scheduler's own. Its
        `shift_terminal` only moves the last of a sampler's steps and has no part here.

        Raises ValueError for a resolution that is missing or has no effect, and for a scheduler
        that spaces its sigmas by another rule.
        """
        other = [name for name in _OTHER if config.get(name)]
        if other:
            raise ValueError(
                f"the scheduler sets {other[0]}; supported is flow matching without it, as in the "
                "published checkpoints"
            )
        steps = steps or int(config.get("num_train_timesteps", 1000))
        if not config.get("use_dynamic_shifting", False):
            _refuse(resolution)
            return cls(steps=steps, rule="static", shift=float(config.get("shift", 1.0)))
        mu = shift_at(config, _tokens(resolution, token))
        rule: Rule = config.get("time_shift_type", "exponential")
        shift = math.exp(mu) if rule == "exponential" else mu
        return cls(steps=steps, rule=rule, shift=shift, resolution=resolution)

    def sigmas(self) -> Tensor:
        """(steps,) float64: sigma at t = 0..steps - 1, rising from 0; t = steps has no signal."""
        s = torch.arange(self.steps, dtype=torch.float64) / self.steps
        return self.shift * s / (1 + (self.shift - 1) * s)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def shift_at(config: Mapping[str, Any], tokens: int) -> float:
    """mu, linear in tokens between the two ends that a scheduler's configuration names."""
    low, high, fewest, most = (float(config.get(name, value)) for name, value in _BASE.items())
    return low + (high - low) * (tokens - fewest) / (most - fewest)


def _tokens(resolution: int | None, token: int) -> int:
    if resolution is None or resolution % token:
        raise ValueError(
            f"foundation.resolution: got {resolution}, but this model's noise schedule depends on "
            f"the size of the image: set the side in pixels, a multiple of {token}, such as 1024"
        )
    return (resolution // token) ** 2


def _refuse(resolution: int | None) -> None:
    if resolution is not None:
        raise ValueError(
            f"foundation.resolution: got {resolution}, but this model's noise schedule is the same "
            "at every size; set it to null"
        )

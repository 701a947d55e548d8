"""How a pre-trained model mixes signal and noise, as data: DDPM and flow matching are one formula.

    z_t = signal[t] * z_H + noise[t] * eps                                   Eqs. 1 and 16

DDPM has signal = sqrt(alpha_bar), noise = sqrt(1 - alpha_bar); flow matching 1 - sigma and sigma.

The paper counts from one: alpha_bar_t is the product of alpha_1 to alpha_t (Sec. 3.1), so t = 1 is
the first step. Arrays and diffusers count from zero. `origin` says which of the two t means, and
`index` is the one place where they meet. In flow matching t = 0 is the clean image itself, so there
is no other way of counting.
"""

from dataclasses import dataclass
from typing import Literal, Self

from diffusers import DDPMScheduler
from torch import Tensor

from omgsr.models.flow_table import FlowTable

Prediction = Literal["epsilon", "v_prediction", "flow"]
Timestep = int | Tensor
"""One t of a batch, or one of every image: (B,) int64."""


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """Coefficients of the noised latent at every training timestep."""

    signal: Tensor
    """(T,) float64, in (0, 1]."""
    noise: Tensor
    """(T,) float64, in [0, 1), rising with t."""
    prediction: Prediction
    """What the denoiser gives; read from the checkpoint, never assumed."""
    origin: int = 0
    """Number of the first step: 1 as in the paper, 0 as in diffusers and the official code."""

    def __post_init__(self) -> None:
        if self.origin not in (0, 1):
            raise ValueError(f"origin: got {self.origin}, allowed: 0 or 1")
        if self.signal.shape != self.noise.shape or self.signal.ndim != 1:
            raise ValueError(
                f"signal and noise must be two (T,) tensors, got {tuple(self.signal.shape)} and "
                f"{tuple(self.noise.shape)}"
            )

    @classmethod
    def from_ddpm(cls, scheduler: DDPMScheduler, origin: int = 0) -> Self:
        """The schedule of a diffusers DDPM scheduler: its alphas_cumprod and prediction_type."""
        prediction = scheduler.config.prediction_type
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"the checkpoint's scheduler predicts {prediction!r}; "
                "supported are epsilon and v_prediction"
            )
        alpha_bar = scheduler.alphas_cumprod.double()
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        return cls(signal=signal, noise=noise, prediction=prediction, origin=origin)

    @classmethod
    def from_flow(cls, table: FlowTable) -> Self:
        """The schedule of flow matching: signal = 1 - sigma, noise = sigma (Eq. 16).

        t = 1..steps - 1: at t = 0 there is no noise and at t = steps no signal, which leaves SNR
        (Eq. 18) without a value or at 0.
        """
        sigma = table.sigmas()
        return cls(signal=1 - sigma, noise=sigma, prediction="flow")

    @property
    def last(self) -> int:
        """The largest timestep: T - 1 counted from zero, T counted from one; the smallest is 1.

        Flow matching of N steps: N - 1.
        """
        return len(self.signal) - 1 + self.origin

    def index(self, t: int) -> int:
        """Where timestep t is in `signal` and `noise`, and what a DDPM denoiser is asked with.

        Raises ValueError for a t outside 1..last; 0 is the clean image in either way of counting.
        """
        if not 1 <= t <= self.last:
            raise ValueError(f"timestep {t} is outside 1..{self.last}")
        return t - self.origin

    def indices(self, t: Tensor) -> Tensor:
        """The same of every image of a batch: (B,) int64 => (B,) int64."""
        if not bool(((t >= 1) & (t <= self.last)).all()):
            raise ValueError(f"timesteps {t.tolist()} are not all in 1..{self.last}")
        return t - self.origin

    def coefficients(self, t: int) -> tuple[float, float]:
        """(signal, noise) at timestep t in 1..last."""
        i = self.index(t)
        return float(self.signal[i]), float(self.noise[i])

    def of(self, z: Tensor, t: Timestep) -> tuple[Tensor | float, Tensor | float]:
        """(signal, noise) for latents (B, C, h, w): numbers, or (B, 1, 1, 1) of every image."""
        if isinstance(t, int):
            return self.coefficients(t)
        i, each = self.indices(t).cpu(), (-1, *[1] * (z.ndim - 1))
        return self.signal[i].to(z).view(each), self.noise[i].to(z).view(each)

    def add_noise(self, z: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """z_t from a clean latent and noise of its shape (Eqs. 1 and 16)."""
        signal, noise = self.of(z, t)
        return signal * z + noise * eps

    def predict_clean(self, z_t: Tensor, output: Tensor, t: Timestep) -> Tensor:
        """The clean latent from the denoiser's output: the one step t -> 0 (Eq. 7).

        epsilon:       (z_t - noise * output) / signal
        v_prediction:  signal * z_t - noise * output
        flow:          z_t - noise * output
        """
        signal, noise = self.of(z_t, t)
        if self.prediction == "epsilon":
            return (z_t - noise * output) / signal
        if self.prediction == "v_prediction":
            return signal * z_t - noise * output
        return z_t - noise * output

    def target(self, z: Tensor, eps: Tensor, t: Timestep) -> Tensor:
        """What the denoiser is trained to give for add_noise(z, eps, t) (Eqs. 2 and 17).

        epsilon: eps,   v_prediction: signal * eps - noise * z,   flow: eps - z
        """
        signal, noise = self.of(z, t)
        if self.prediction == "epsilon":
            return eps
        if self.prediction == "v_prediction":
            return signal * eps - noise * z
        return eps - z

    def snr(self) -> Tensor:
        """signal^2 / noise^2 at t = 1..last, (last,): Eqs. 3 and 18 without E[z_H^2]."""
        first = self.index(1)
        signal, noise = self.signal[first:], self.noise[first:]
        return signal.square() / noise.square()

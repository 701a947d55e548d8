"""How a pre-trained model mixes signal and noise, as data: DDPM and flow matching are one formula.

    z_t = signal[t] * z_H + noise[t] * eps                                   Eqs. 1 and 16

DDPM has signal = sqrt(alpha_bar), noise = sqrt(1 - alpha_bar); flow matching 1 - sigma and sigma.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from diffusers import DDPMScheduler
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "flow"]


@dataclass(frozen=True, kw_only=True)
class NoiseSchedule:
    """Coefficients of the noised latent at every training timestep."""

    signal: Tensor
    """(T,) float64, in (0, 1]."""
    noise: Tensor
    """(T,) float64, in [0, 1), rising with t."""
    prediction: Prediction
    """What the denoiser gives; read from the checkpoint, never assumed."""

    def __post_init__(self) -> None:
        if self.signal.shape != self.noise.shape or self.signal.ndim != 1:
            raise ValueError(
                f"signal and noise must be two (T,) tensors, got {tuple(self.signal.shape)} and "
                f"{tuple(self.noise.shape)}"
            )

    @classmethod
    def from_ddpm(cls, scheduler: DDPMScheduler) -> NoiseSchedule:
        """The schedule of a diffusers DDPM scheduler: its alphas_cumprod and prediction_type."""
        prediction = scheduler.config.prediction_type
        if prediction not in ("epsilon", "v_prediction"):
            raise ValueError(
                f"the checkpoint's scheduler predicts {prediction!r}; "
                "supported are epsilon and v_prediction"
            )
        alpha_bar = scheduler.alphas_cumprod.double()
        return cls(signal=alpha_bar.sqrt(), noise=(1 - alpha_bar).sqrt(), prediction=prediction)

    def coefficients(self, t: int) -> tuple[float, float]:
        """(signal, noise) at timestep t in 1..T-1."""
        if not 1 <= t < len(self.signal):
            raise ValueError(f"timestep {t} is outside 1..{len(self.signal) - 1}")
        return float(self.signal[t]), float(self.noise[t])

    def add_noise(self, z: Tensor, eps: Tensor, t: int) -> Tensor:
        """z_t from a clean latent and noise of its shape (Eqs. 1 and 16)."""
        signal, noise = self.coefficients(t)
        return signal * z + noise * eps

    def predict_clean(self, z_t: Tensor, output: Tensor, t: int) -> Tensor:
        """The clean latent from the denoiser's output: the one step t -> 0 (Eq. 7).

        epsilon:       (z_t - noise * output) / signal
        v_prediction:  signal * z_t - noise * output
        flow:          z_t - noise * output
        """
        signal, noise = self.coefficients(t)
        if self.prediction == "epsilon":
            return (z_t - noise * output) / signal
        if self.prediction == "v_prediction":
            return signal * z_t - noise * output
        return z_t - noise * output

    def snr(self) -> Tensor:
        """signal^2 / noise^2 at t = 1..T-1, (T-1,): Eqs. 3 and 18 without E[z_H^2]."""
        signal, noise = self.signal[1:], self.noise[1:]
        return signal.square() / noise.square()

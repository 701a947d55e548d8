"""One training step of OMGSR straight from the paper, sharing nothing: what ours is compared with.

Written from Eqs. 1 and 6 to 15 with torch alone. A frozen VAE beside the adapted one, one ConvNeXt
for the discriminator and one for Dv3CD, and a ConvNeXt pass wherever an equation names one:

    D(x_P) of the generator's step, L(x_P) and L(x_H) of Dv3CD, D(x_P) and D(x_H) of the heads' step

Precision is that of our step: bf16 arithmetic and frozen weights, fp32 adapters, heads, latents and
images. Our other means, the channels-last layout and fused AdamW, are not used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 3


@dataclass
class Reference:
    """The networks, all where they compute, and `step`."""

    vae: Any
    """AutoencoderKL whose encoder has an adapter."""
    frozen_vae: Any
    """The same without, for z_H."""
    unet: Any
    """UNet2DConditionModel with an adapter."""
    judge: nn.Module
    """timm ConvNeXt of the discriminator."""
    perceptual: nn.Module
    """timm ConvNeXt of Dv3CD."""
    heads: nn.Module
    """Feature maps => logits."""
    prompt: Tensor
    """(1, tokens, width)."""
    alpha_bar: float
    """Of the step t."""
    index: int
    """What the UNet is asked with."""
    weights: Mapping[str, float]
    """lrr, gan, dv3cd and l1."""
    lr: float = 5e-5
    weight_decay: float = 1e-4
    clip_grad: float | None = 1.0
    real_label: float = 0.8
    bf16: bool = False
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        named = [*self.vae.encoder.named_parameters(), *self.unet.named_parameters()]
        self.adapters = [p for name, p in named if "lora_" in name]
        self.optimiser = torch.optim.AdamW(
            self.adapters, lr=self.lr, weight_decay=self.weight_decay
        )
        self.heads_optimiser = torch.optim.AdamW(
            self.heads.parameters(), lr=self.lr, weight_decay=self.weight_decay
        )

    def step(self, x_lq: Tensor, x_hq: Tensor, eps: Tensor) -> dict[str, float]:
        """One optimiser step of both networks; the unweighted terms."""
        w = self.weights
        with self._autocast():
            with torch.no_grad():
                z_t = self._noised(self._encode(self.frozen_vae, x_hq), eps)
            z_lq = self._encode(self.vae, x_lq)
            x_sr = self._decode(self._clean(z_lq))
            terms = {
                "lrr": F.mse_loss(z_lq, z_t),
                "gan": self._bce(self._logits(x_sr), self.real_label),
                "dv3cd": dists(self._pooled(x_sr), self._pooled(x_hq)),
                "l1": F.l1_loss(x_sr, x_hq),
            }
            loss = torch.stack([w[name] * value for name, value in terms.items()]).sum()
        self.optimiser.zero_grad()
        loss.backward()
        self._clip(self.adapters)
        self.optimiser.step()
        with self._autocast():
            terms["d_fake"] = self._bce(self._logits(x_sr.detach()), 0.0)
            terms["d_real"] = self._bce(self._logits(x_hq), self.real_label)
            loss = w["gan"] * (terms["d_fake"] + terms["d_real"])
        self.heads_optimiser.zero_grad()  # and with it what the generator's step left there
        loss.backward()
        self._clip(self.heads.parameters())
        self.heads_optimiser.step()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.prompt.device.type, torch.bfloat16, enabled=self.bf16)

    def _encode(self, vae: Any, x: Tensor) -> Tensor:
        shift = vae.config.shift_factor or 0.0
        return (vae.encode(x).latent_dist.mode().float() - shift) * vae.config.scaling_factor

    def _decode(self, z: Tensor) -> Tensor:
        shift = self.vae.config.shift_factor or 0.0
        return self.vae.decode(z / self.vae.config.scaling_factor + shift).sample.float()

    def _noised(self, z_hq: Tensor, eps: Tensor) -> Tensor:
        """z_t (Eq. 1)."""
        return self.alpha_bar**0.5 * z_hq + (1 - self.alpha_bar) ** 0.5 * eps

    def _clean(self, z_lq: Tensor) -> Tensor:
        """z_P of an epsilon model (Eq. 7)."""
        prompt = self.prompt.expand(len(z_lq), -1, -1)
        eps = self.unet(z_lq, self.index, encoder_hidden_states=prompt).sample.float()
        return (z_lq - (1 - self.alpha_bar) ** 0.5 * eps) / self.alpha_bar**0.5

    def _unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], and normalised as ConvNeXt takes them."""
        unit = (x + 1) / 2
        mean, std = (torch.tensor(v, device=x.device) for v in (self.mean, self.std))
        return unit, (unit - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)

    def _logits(self, x: Tensor) -> list[Tensor]:
        """D(x) (Eqs. 8 and 9)."""
        model: Any = self.judge
        f, features = model.stem(self._unit(x)[1]), []
        for stage in model.stages[:LEVELS]:
            f = stage(f)
            features.append(f)
        return self.heads(features)

    def _pooled(self, x: Tensor) -> list[Tensor]:
        """L^0..L^3 (Eq. 10)."""
        model: Any = self.perceptual
        unit, normalised = self._unit(x)
        f, maps = model.stem(normalised), [unit]
        for stage in model.stages[:LEVELS]:
            f = l2_pool(stage(f))
            maps.append(f)
        return maps

    def _bce(self, logits: list[Tensor], label: float) -> Tensor:
        """Sum over the levels (Eqs. 12 and 14)."""
        maps = [x.float() for x in logits]
        terms = [F.binary_cross_entropy_with_logits(x, torch.full_like(x, label)) for x in maps]
        return torch.stack(terms).sum()

    def _clip(self, parameters: Iterable[nn.Parameter]) -> None:
        if self.clip_grad is not None:
            nn.utils.clip_grad_norm_(parameters, self.clip_grad)


def l2_pool(x: Tensor) -> Tensor:
    """sqrt(Hann * x^2), stride 1 (Eq. 10)."""
    taps = torch.tensor([0.25, 0.5, 0.25], device=x.device, dtype=x.dtype)
    window = torch.outer(taps, taps).expand(x.shape[1], 1, 3, 3)
    return (F.conv2d(x**2, window, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def dists(a: list[Tensor], b: list[Tensor], c: float = 1e-6) -> Tensor:
    """Dv3CD (Eq. 11): 1 - the mean over all channels of texture and structure similarity."""
    values = []
    for x, y in zip(a, b, strict=True):
        x, y = x.float(), y.float()
        mx, my = x.mean((2, 3)), y.mean((2, 3))
        dx, dy = x - mx[..., None, None], y - my[..., None, None]
        vx, vy, cov = ((p * q).mean((2, 3)) for p, q in ((dx, dx), (dy, dy), (dx, dy)))
        texture = (2 * mx * my + c) / (mx**2 + my**2 + c)
        structure = (2 * cov + c) / (vx + vy + c)
        values.append((texture + structure) / 2)
    return 1 - torch.cat(values, dim=1).mean()

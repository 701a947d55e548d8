"""The losses of one forward pass and their gradients (Eqs. 13 and 15, and distillation)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from omgsr.data.datasets import Batch
from omgsr.method import distillation, lora, losses
from omgsr.method.discriminator import Discriminator, augment
from omgsr.method.generator import Generator
from omgsr.method.settings import Arithmetic, ObjectiveSettings
from omgsr.models.features import Features

Maps = list[Tensor]
Rngs = list[torch.Generator]
Terms = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The networks of a training and what they are trained for.

    HQ latents, HQ features and the features of x_sr are computed once a forward pass and shared by
    all losses of both networks.
    """

    generator: Generator
    features: Features
    discriminator: Discriminator
    settings: ObjectiveSettings
    weights: Mapping[str, float]
    """Weight of every generator term (Eq. 13); `gan` also weighs Eq. 15."""
    perceptual: Mapping[str, losses.Perceptual] = field(default_factory=dict)
    """What the losses of losses.PERCEPTUAL compare by."""

    def backward(
        self, batch: Batch, rngs: Rngs, share: float, measure: bool = False
    ) -> tuple[Terms, Terms]:
        """Adds `share` of the gradients of L_G to the adapters, of L_D to the heads, if any, and of
        the diffusion loss to the regulariser, if there is one.

        `rngs` are those of the pairs, one each, so that nothing depends on how pairs are batched.
        Gives every unweighted term, `generator` for their weighted sum, and if `measure`
        grad/<term>: the norm of the weighted term's gradient in the adapters.
        """
        weights = self.weights
        outputs, fake, real = self._forward(batch, rngs)
        with self._in(self.settings.precision.features):
            terms = losses.generator_terms(outputs, weights)
        total = losses.weighted_sum(terms, weights)
        norms = self._norms(terms) if measure else {}
        (total * share).backward()
        if fake:
            if self.settings.diffaugment == "anew":
                fake = self._seen(outputs.x_sr.detach(), rngs)
            heads = self._judge(fake, real)
            loss = weights["gan"] * torch.stack(list(heads.values())).sum()
            (loss * share).backward()
            terms |= heads
        if outputs.distilled is not None:
            terms |= self._regularise(outputs.z_sr, rngs, share)
        return {n: v.detach().float() for n, v in {**terms, "generator": total}.items()}, norms

    def _in(self, arithmetic: Arithmetic) -> torch.autocast:
        device = self.features.mean.device.type
        return torch.autocast(device, torch.bfloat16, enabled=arithmetic == "bf16")

    def _forward(self, batch: Batch, rngs: Rngs) -> tuple[losses.Outputs, Maps, Maps]:
        """The generator's outputs, and the features of x_sr and x_hq that the heads judge."""
        s, x_hq = self.settings, batch.x_hq
        z_hq, z_t = self.generator.targets(x_hq, rngs)
        z_lq, z_sr = self.generator.latents(batch.x_lq, rngs)
        x_sr, distilled = self.generator.decode(z_sr), None
        if self.weights.get("vsd", 0) > 0:
            distilled = distillation.direction(self.generator, z_sr, rngs)
        if s.clamp:
            x_sr = x_sr.clamp(-1, 1)
        fake, pooled_sr = self._features(x_sr, rngs)
        with torch.no_grad():
            real, pooled_hq = self._features(x_hq, rngs)
        self.discriminator.requires_grad_(s.head_gradient != "own")  # Eq. 12 moves the generator
        logits = self._logits(fake) if fake else []
        self.discriminator.requires_grad_(True)
        outputs = losses.Outputs(
            x_sr=x_sr, x_hq=x_hq, z_lq=z_lq, z_hq=z_hq, z_t=z_t, logits=logits,
            pooled_sr=pooled_sr, pooled_hq=pooled_hq, real_label=s.real_label,
            period=self.generator.backbone.multiple,
            perceptual=self.perceptual, z_sr=z_sr, distilled=distilled,
        )  # fmt: skip
        return outputs, fake, real

    def _features(self, x: Tensor, rngs: Rngs) -> tuple[Maps, Maps]:
        """Plain features for the heads and pooled ones for Dv3CD, each if a loss needs it.

        One pass gives both where they are of the same image in the same precision.
        """
        s, weights = self.settings, self.weights
        plain, pooled = weights.get("gan", 0) > 0, weights.get("dv3cd", 0) > 0
        same = s.diffaugment == "none" and s.precision.heads == s.precision.features
        if plain and pooled and same:
            with self._in(s.precision.features):
                return self.features.plain_and_pooled(x, pooled=True)
        chain: Maps = []
        if pooled:
            with self._in(s.precision.features):
                chain = self.features.plain_and_pooled(x, pooled=True, plain=False)[1]
        return self._seen(x, rngs) if plain else [], chain

    def _seen(self, x: Tensor, rngs: Rngs) -> Maps:
        """F^1..F^3 of images as the heads see them."""
        if self.settings.diffaugment != "none":
            x = augment(x, rngs)
        with self._in(self.settings.precision.heads):
            return self.features(x)

    def _logits(self, maps: Maps) -> Maps:
        with self._in(self.settings.precision.heads):
            return self.discriminator(maps)

    def _judge(self, fake: Maps, real: Maps) -> Terms:
        """The terms of Eq. 14 from features already computed: those of x_sr need no heads."""
        judged = [self._logits([f.detach() for f in maps]) for maps in (fake, real)]
        return losses.discriminator_terms(judged[0], judged[1], self.settings.real_label)

    def _regularise(self, z_sr: Tensor, rngs: Rngs, share: float) -> Terms:
        """The diffusion loss of the regulariser on the generator's latents (distillation.py)."""
        with lora.active(self.generator.backbone.denoiser, lora.REGULARISER):
            loss = distillation.regulariser_loss(self.generator, z_sr, rngs)
            (loss * share).backward()
        return {"regulariser": loss}

    def _norms(self, terms: Mapping[str, Tensor]) -> Terms:
        adapters, norms = self.generator.adapter_parameters(), {}
        for name, value in terms.items():
            gradients = torch.autograd.grad(
                self.weights[name] * value, adapters, retain_graph=True, allow_unused=True
            )
            norms[f"grad/{name}"] = nn.utils.get_total_norm([g for g in gradients if g is not None])
        return norms

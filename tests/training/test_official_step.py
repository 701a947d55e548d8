"""One optimiser step of profile `official` against the released code's, built from its description.

That is README's table, in plain torch on the networks of diffusers, timm and PEFT. Two things are
not the released code's but settled by ours: a spectral norm is estimated once a step, and the noise
is that of the pairs. DiffAugment is off, and has a test of its own (test_diffaugment.py); all is
fp32.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor, nn

from omgsr import config
from omgsr.core import seeding
from omgsr.data.datasets import Batch
from omgsr.training.settings import Settings
from omgsr.training.trainer import Trainer
from tests.helpers import models

PASSES, SIDE, INDEX = 2, 384, 273
TARGETS = [
    "conv1", "conv2", "conv_in", "conv_shortcut", "conv", "conv_out",
    "to_k", "to_q", "to_v", "to_out.0",
]  # fmt: skip
FILTER = torch.tensor([1.0, 3.0, 3.0, 1.0]).outer(torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


def ours(folder: Path) -> Trainer:
    """A trainer of profile `official`; adapters that have learnt something."""
    root = Path(__file__).parents[2]
    official = config.load(root, "official", ready=False)
    plan = replace(
        official.train, precision=models.precision("fp32"), diffaugment="none",
        accumulate=PASSES, encoder_rank=2, unet_rank=3, gradient_norms_every=None,
    )  # fmt: skip
    chosen = Settings(**vars(plan), losses=dict(official.variants["full"].losses), seed=0)
    generator = models.generator(folder, t=INDEX, latent=plan.latent, trained=0.1)
    return Trainer(generator, models.feature_network(folder), chosen)


class Official:
    """The released code's training step: every network its own copy, every pass its own."""

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        """The adapters' and heads' first weights are the trainer's."""
        self.vae, self.unet = models.backbone(folder).vae, models.backbone(folder).denoiser
        self.frozen_vae = models.backbone(folder).vae
        self.vae.encoder = adapted(self.vae.encoder, 2)
        self.unet = adapted(self.unet, 3)
        self.adapters = trained(self.vae.encoder) + trained(self.unet)
        with torch.no_grad():
            given_adapters = trainer.generator.adapter_parameters()
            for own, given in zip(self.adapters, given_adapters, strict=True):
                own.copy_(given)
        self.trunks = [trunk(folder), trunk(folder)]  # the discriminator's and that of Dv3CD
        self.heads = [Head(head) for head in trainer.discriminator.heads]
        self.prompt = load_file(folder / "prompt.safetensors")["prompt"]
        self.alpha_bar = models.scheduler().alphas_cumprod[INDEX]
        self.weights = [p for head in self.heads for p in head.parameters()]
        options: dict[str, Any] = {"lr": 5e-5, "weight_decay": 1e-4}
        self.optimisers = [
            torch.optim.AdamW(own, **options) for own in (self.adapters, self.weights)
        ]

    def step(self, pairs: list[Batch]) -> None:
        """Gradients of all passes, limited to norm 1 in each network; what Eq. 12 leaves in the
        heads stays there (T2)."""
        for head in self.heads:
            head.estimate()
        for number, pair in enumerate(pairs):
            self.one(pair, seeding.torch_rng(0, "noise", 0, number))
        for own, optimiser in zip((self.adapters, self.weights), self.optimisers, strict=True):
            nn.utils.clip_grad_norm_(own, 1.0)
            optimiser.step()

    def one(self, pair: Batch, rng: torch.Generator) -> None:
        """Eqs. 6, 7 and 11 to 15 of one pass, and their gradients."""
        z_hq = self.encode(self.frozen_vae, pair.x_hq, rng).detach()
        eps = torch.randn(z_hq.shape, generator=rng)
        z_t = self.alpha_bar.sqrt() * z_hq + (1 - self.alpha_bar).sqrt() * eps
        z_lq = self.encode(self.vae, pair.x_lq, rng)
        predicted = self.unet(z_lq, INDEX, encoder_hidden_states=self.prompt).sample
        z = (z_lq - (1 - self.alpha_bar).sqrt() * predicted) / self.alpha_bar.sqrt()
        c = self.vae.config
        x_sr = self.vae.decode(z / c.scaling_factor + c.shift_factor).sample.clamp(-1, 1)
        loss = 5 * F.mse_loss(z_lq, z_t) + 0.5 * F.l1_loss(x_sr, pair.x_hq)
        loss = loss + 0.5 * self.bce(x_sr, 0.8) + 5 * self.dv3cd(x_sr, pair.x_hq)
        (loss / PASSES).backward()
        judged = self.bce(x_sr.detach(), 0.0) + self.bce(pair.x_hq, 0.8)
        (0.5 * judged / PASSES).backward()

    def encode(self, vae: Any, x: Tensor, rng: torch.Generator) -> Tensor:
        z = vae.encode(x).latent_dist.sample(rng)
        return (z - vae.config.shift_factor) * vae.config.scaling_factor

    def bce(self, x: Tensor, label: float) -> Tensor:
        """Eqs. 9, 12 and 14: one logit a level, the terms added up."""
        f, total = (((x + 1) / 2) - 0.5) / 0.5, torch.zeros(())
        for stage, head in zip(self.trunks[0], self.heads, strict=True):
            f = stage(f)
            logit = head(f)
            assert logit.shape == (1, 1, 1, 1)
            total = total + F.binary_cross_entropy_with_logits(logit, torch.full_like(logit, label))
        return total

    def dv3cd(self, x: Tensor, y: Tensor) -> Tensor:
        """Eqs. 10 and 11 with c = 1e-6 (T14)."""
        ratios = []
        for a, b in zip(self.pooled(x), self.pooled(y), strict=True):
            m, n = a.mean((2, 3)), b.mean((2, 3))
            u, v = a - m[..., None, None], b - n[..., None, None]
            ratios.append((2 * m * n + 1e-6) / (m**2 + n**2 + 1e-6))
            shared, own = (u * v).mean((2, 3)), (u**2).mean((2, 3)) + (v**2).mean((2, 3))
            ratios.append((2 * shared + 1e-6) / (own + 1e-6))
        return 1 - torch.cat(ratios, 1).mean()

    def pooled(self, x: Tensor) -> list[Tensor]:
        maps = [(x + 1) / 2]
        window = torch.tensor([1.0, 2.0, 1.0]).outer(torch.tensor([1.0, 2.0, 1.0])) / 16
        for number, stage in enumerate(self.trunks[1]):
            f = stage((maps[0] - 0.5) / 0.5 if number == 0 else maps[-1])
            squares = F.conv2d(f**2, window.expand(f.shape[1], 1, 3, 3), None, 1, 1, 1, f.shape[1])
            maps.append((squares + 1e-12).sqrt())
        return maps


class Head:
    """BlurPool, strided convolution, LeakyReLU and so on, each weight by its singular value."""

    def __init__(self, given: nn.Module) -> None:
        """Takes weights and estimates of one of ours."""
        self.layers = []
        for conv in [m for m in given.modules() if isinstance(m, nn.Conv2d)]:
            norm: Any = conv.get_submodule("parametrizations.weight")
            weight = norm.original.detach().clone().requires_grad_()
            assert conv.bias is not None
            bias = conv.bias.detach().clone().requires_grad_()
            u, v = (x.clone() for x in (norm[0]._u, norm[0]._v))
            self.layers.append((weight, bias, [u, v], conv.padding))

    def parameters(self) -> list[Tensor]:
        return [p for weight, bias, *_ in self.layers for p in (weight, bias)]

    @torch.no_grad()
    def estimate(self) -> None:
        for weight, _, estimates, _ in self.layers:
            flat = weight.flatten(1)
            estimates[0] = F.normalize(flat @ estimates[1], dim=0, eps=1e-12)
            estimates[1] = F.normalize(flat.T @ estimates[0], dim=0, eps=1e-12)

    def __call__(self, x: Tensor) -> Tensor:
        for number, (weight, bias, (u, v), padding) in enumerate(self.layers):
            x = F.leaky_relu(x, 0.2) if number else x
            channels = x.shape[1]
            window = FILTER.expand(channels, 1, 4, 4)
            x = F.conv2d(F.pad(x, (1, 2, 1, 2)), window, stride=2, groups=channels)
            x = F.conv2d(x, weight / (u @ weight.flatten(1) @ v), bias, 2, padding)
        return x


def adapted(module: nn.Module, rank: int) -> nn.Module:
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=TARGETS)
    return get_peft_model(module, config)


def trained(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def trunk(folder: Path) -> list[nn.Module]:
    """Down_l and Stage_l of Eq. 8."""
    arguments: Any = models.CONVNEXT["arguments"]
    network: Any = timm.create_model("convnext_atto", num_classes=0, **arguments)
    state = {k: v.float() for k, v in load_file(folder / "features" / "model.safetensors").items()}
    assert not network.load_state_dict(state, strict=False).unexpected_keys
    network.requires_grad_(False).eval()
    return [nn.Sequential(network.stem, network.stages[0]), network.stages[1], network.stages[2]]


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Trainer, Official, list[Tensor], list[Tensor]]:
    """Ours and theirs after one step from the same weights, and these weights.

    Of a VAE that reduces by 8: heads need 384 px, whose attention would else take a minute.
    """
    folder = models.write_foundation(tmp_path_factory.mktemp("foundation"), levels=4)
    trainer = ours(folder)
    theirs = Official(folder, trainer)
    before = [copy.deepcopy([p.detach() for p in own]) for own in (theirs.adapters, theirs.weights)]
    pairs = [models.batch(seed, count=1, side=SIDE) for seed in range(PASSES)]
    theirs.step(pairs)
    trainer.update(pairs)
    return trainer, theirs, *before


def test_the_step_is_of_the_official_settings(both: Any) -> None:
    plan = asdict(both[0].settings)
    wanted = {
        "lr": 5e-5, "weight_decay": 1e-4, "clip_grad": 1.0, "real_label": 0.8, "clamp": True,
        "latent": "sample", "head_gradient": "leftover", "spectral_norm": True, "heads": "official",
        "losses": {"lrr": 5, "gan": 0.5, "dv3cd": 5, "l1": 0.5}, "lr_schedule": "constant",
    }  # fmt: skip
    assert {name: plan[name] for name in wanted} == wanted


def test_adapters_and_heads_are_the_official_ones(both: Any) -> None:
    trainer, theirs, adapters, heads = both
    parts = {
        "adapters": (trainer.generator.adapter_parameters(), theirs.adapters, adapters),
        "heads": (in_order(trainer), theirs.weights, heads),
    }
    for part, (got, expected, before) in parts.items():
        assert furthest(expected, before) == pytest.approx(5e-5, rel=0.2), part
        assert furthest(got, expected) < 1e-6, part  # 4e-8 was seen


def furthest(one: list[Tensor], two: list[Tensor]) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(one, two, strict=True))


def in_order(trainer: Trainer) -> list[Tensor]:
    """Weights and biases of our heads as theirs are listed."""
    convolutions = [m for m in trainer.discriminator.modules() if isinstance(m, nn.Conv2d)]
    found: list[Tensor] = []
    for conv in convolutions:
        assert conv.bias is not None
        found += [conv.get_submodule("parametrizations.weight").original, conv.bias]  # type: ignore
    return found

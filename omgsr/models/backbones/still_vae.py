"""Qwen-Image's video VAE as a VAE of still images: (B, C, h, w) everywhere, a third of the work.

A causal 3-D convolution pads the past with zeros, so of one frame it sees its last time slice
alone: Conv2d of weight[:, :, -1]. The convolutions over time between frames have nothing to do.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders import autoencoder_kl_qwenimage as video
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class StillVAE(nn.Module):
    """Encoder and decoder of an AutoencoderKLQwenImage under the same names, for single frames."""

    encoder: Any
    quant_conv: Any
    post_quant_conv: Any
    decoder: Any

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        """Takes the networks out of `vae`, which is of no use afterwards."""
        super().__init__()
        self.config = vae.config
        for name in ("encoder", "quant_conv", "post_quant_conv", "decoder"):
            setattr(self, name, _still(getattr(vae, name)))

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """Images => the posterior: (B, 3, H, W) => moments (B, 2 C, H/8, W/8)."""
        moments = self.quant_conv(self.encoder(x))
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, z: Tensor) -> DecoderOutput:
        """Raw latents => images, not clamped: (B, C, h, w) => (B, 3, 8 h, 8 w)."""
        return DecoderOutput(sample=self.decoder(self.post_quant_conv(z)))

    def enable_gradient_checkpointing(self) -> None:
        """Computes every block a second time in the backward pass, and keeps its input alone."""
        for block in (*self.encoder.down_blocks, *self.decoder.up_blocks):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)


class _Attention(nn.Module):
    """Self-attention of one head over the pixels of a frame."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm, self.to_qkv, self.proj = _still(block.norm), block.to_qkv, block.proj

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.to_qkv(self.norm(x)).flatten(2).transpose(1, 2)[:, None]  # (B, 1, hw, 3 C)
        seen = F.scaled_dot_product_attention(*tokens.chunk(3, -1))[:, 0]
        return x + self.proj(seen.transpose(1, 2).reshape(x.shape))


class _Norm(nn.Module):
    """Every pixel's channels divided by their root mean square, times gamma: three passes."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.gamma = nn.Parameter(norm.gamma.detach().view(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
        factor = len(self.gamma) ** 0.5 / size.clamp_min(1e-12)
        return x * factor.to(x.dtype) * self.gamma


class _Resample(nn.Module):
    """Half or twice the side."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.resample = block.resample

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(x)


def _still(module: Any) -> Any:
    """A module of the video VAE, with all inside it, for (B, C, h, w)."""
    if isinstance(module, video.QwenImageCausalConv3d):
        return _convolution(module)
    if isinstance(module, video.QwenImageAttentionBlock):
        return _Attention(module)
    if isinstance(module, video.QwenImageResample):
        return _Resample(module)
    if isinstance(module, video.QwenImageRMS_norm):
        return _Norm(module)
    for name, child in module.named_children():
        setattr(module, name, _still(child))
    return module


def _convolution(causal: Any) -> nn.Conv2d:
    """The last time slice of a causal 3-D convolution."""
    sides = causal._padding  # left, right, top, bottom, past, future
    made = nn.Conv2d(
        causal.in_channels, causal.out_channels, causal.kernel_size[1:], causal.stride[1:],
        padding=(sides[2], sides[0]), device="meta",
    )  # fmt: skip
    made.weight = nn.Parameter(causal.weight.detach()[:, :, -1].contiguous())
    made.bias = nn.Parameter(causal.bias.detach())
    return made

"""Qwen-Image: a transformer over latents of a video VAE, which is used for stills."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from torch import Tensor

from omgsr.models import text_encoders
from omgsr.models.backbones import loading
from omgsr.models.backbones.flow_matching import (
    JOINT_ATTENTION,
    PATCH,
    FlowMatching,
    packed,
    unpacked,
)
from omgsr.models.backbones.still_vae import StillVAE
from omgsr.models.schedule import Timestep
from omgsr.models.text_encoders import Embedding, Tensors

TEMPLATE = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
    "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
"""What the model was trained to read around a prompt."""
INSTRUCTION = 34
"""Tokens before the prompt, of which the network is shown nothing."""
LONGEST = 1024


def _embed(model: Path, text: str) -> Tensors:
    """Last hidden state of Qwen2.5-VL after the instruction: (1, tokens, 3584)."""
    whole = text_encoders.language_model(
        model, TEMPLATE.format(text), "Qwen2_5_VLForConditionalGeneration", -1
    )
    return {"sequence": whole[:, INSTRUCTION : INSTRUCTION + LONGEST]}


class QwenImage(FlowMatching):
    """AutoencoderKLQwenImage in 2-D (still_vae.py) + QwenImageTransformer2DModel."""

    denoiser_class = QwenImageTransformer2DModel
    encoder_targets = (
        "conv1", "conv2", "conv_in", "conv_shortcut", "conv_out", "resample.1", "to_qkv", "proj",
    )  # fmt: skip
    denoiser_targets = (
        "img_in", *JOINT_ATTENTION,
        "img_mlp.net.0.proj", "img_mlp.net.2", "txt_mlp.net.0.proj", "txt_mlp.net.2",
    )  # fmt: skip
    embedding = Embedding(names=("sequence",), encoders=("text_encoder",), compute=_embed)

    @classmethod
    def load_vae(cls, folder: Path) -> Any:
        """The VAE for stills."""
        return StillVAE(loading.network(AutoencoderKLQwenImage, folder))

    @classmethod
    def statistics(cls, config: Any) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and 1 / standard deviation of every channel."""
        return config.latents_mean, [1 / std for std in config.latents_std]

    @classmethod
    def vae_reduction(cls, config: Mapping[str, Any]) -> int:
        """Every level but the last halves the sides."""
        return 2 ** (len(config["dim_mult"]) - 1)

    @property
    def decoder_width(self) -> int:
        """Most channels that the decoder has at the size of the image."""
        return int(self.vae.config.base_dim * self.vae.config.dim_mult[1])

    def predict(self, z_t: Tensor, t: Timestep) -> Tensor:
        """The v of the transformer at sigma_t: (B, C, h, w) => (B, C, h, w)."""
        height, width = z_t.shape[2:]
        tokens = self.denoiser(
            hidden_states=packed(z_t),
            timestep=self.sigma(z_t, t),
            encoder_hidden_states=self.prompts(z_t)["sequence"],
            img_shapes=[[(1, height // PATCH, width // PATCH)]] * len(z_t),
        ).sample
        return unpacked(tokens, height, width)

"""Multi-level discriminator heads over frozen features (Eq. 9, Fig. 3)."""

from timm.layers import BlurPool2d
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """One head a level; each gives a map of logits with stride 32, so any size from 32 px works.

    The sigmoid of Eq. 9 is inside the losses (binary cross-entropy with logits), which is the
    same function and does not overflow. Weights are drawn from torch's global generator.
    """

    def __init__(self, channels: list[int], spectral: bool = False) -> None:
        """`channels`: C_1..C_3 of the feature levels, whose strides are 4, 8 and 16.

        `spectral` divides every convolution by its largest singular value, as the official code.
        """
        super().__init__()
        depth = len(channels)
        self.heads = nn.ModuleList(_head(c, depth - level) for level, c in enumerate(channels))
        if spectral:
            for module in [m for m in self.heads.modules() if isinstance(m, nn.Conv2d)]:
                spectral_norm(module)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """F^1..F^3 => logits: (B, C_l, h, w) => (B, 1, H/32, W/32) a level."""
        return [head(f) for head, f in zip(self.heads, features, strict=True)]


def _head(channels: int, halvings: int) -> nn.Sequential:
    """A convolution on the features as they are, then a low-pass filter before every halving.

    The first convolution comes before any filter: what is finest tells restored from real.
    """
    hidden = max(channels // 2, 32)
    layers: list[nn.Module] = [nn.Conv2d(channels, hidden, 3, padding=1), nn.LeakyReLU(0.2)]
    for _ in range(halvings):
        layers += [
            BlurPool2d(hidden, filt_size=3, stride=2, pad_mode="replicate"),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.LeakyReLU(0.2),
        ]
    return nn.Sequential(*layers, nn.Conv2d(hidden, 1, 3, padding=1))

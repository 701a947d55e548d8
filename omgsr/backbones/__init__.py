"""Pre-trained latent diffusion models behind one small interface."""

from omgsr.backbones.base import Backbone
from omgsr.backbones.load import load

__all__ = ["Backbone", "load"]

"""Pre-trained latent diffusion models behind one small interface."""

from omgsr.models.backbones.base import Backbone
from omgsr.models.backbones.from_folder import load

__all__ = ["Backbone", "load"]

"""OMGSR: one-step real-world image super-resolution that enters the diffusion at its mid-timestep.

The method alone: no experiment tracking and no pipeline, those live in `stages/`.
"""

import logging

# PEFT imports bitsandbytes, which warns of a 4-bit kernel that nothing here uses. Every stage,
# command and worker process comes by here before that.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

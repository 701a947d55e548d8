"""Random generators that depend on a seed and names only, never on workers or order."""

import hashlib

import numpy as np
import torch


def derive(seed: int, *names: str | int) -> int:
    """A 63-bit seed from `seed` and the names of one item: sha256 of the joined key."""
    if seed < 0:
        raise ValueError(f"a seed is an integer of 0 or more, got {seed}")
    # The unit separator keeps ("a", "bc") and ("ab", "c") apart.
    key = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def rng(seed: int, *names: str | int) -> np.random.Generator:
    """NumPy generator of one item, for example `rng(seed, "degrade", row.name)`."""
    return np.random.default_rng(derive(seed, *names))


def torch_rng(seed: int, *names: str | int) -> torch.Generator:
    """Torch generator of one item or step, for example `torch_rng(seed, "train", step)`."""
    return torch.Generator().manual_seed(derive(seed, *names))

"""How far two lists of tensors lie apart, in words that hold on every processor.

Kernels of another instruction set add in another order, so that every element carries another
rounding error: about 2^-24 of the largest terms of its sum, however small the sum itself comes out.
An element near zero can thus be off by any factor, while the vector that it belongs to is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def vector(tensors: Iterable[Tensor]) -> Tensor:
    """All elements in one float64 vector."""
    return torch.cat([x.detach().double().flatten() for x in tensors])


def apart(got: Iterable[Tensor], expected: Iterable[Tensor]) -> float:
    """||got - expected|| / ||expected|| of the two as whole vectors.

    One number for both: the norms differ by this part at most, and the sine of the angle between
    the vectors is this at most.
    """
    a, b = vector(got), vector(expected)
    assert a.shape == b.shape
    assert float(b.norm()) > 0
    return float((a - b).norm() / b.norm())


def assert_same_gradients(
    got: Sequence[Tensor | None], expected: Sequence[Tensor], bound: float = 1e-4
) -> None:
    """Equal up to the order of float32 sums: as a whole, and every tensor by itself.

    A gradient is the sum of some 10^3 products of each of some 10^2 layers, and Dv3CD divides small
    variances by each other on the way: 2^-24 becomes up to 1e-5 of the whole. `bound` is ten times
    that. A tensor by itself may have a gradient of a few roundings of the whole, no more.
    """
    found = [x for x in got if x is not None]
    assert len(found) == len(got)
    assert apart(found, expected) < bound
    least = 0.1 * bound * float(vector(expected).norm())
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).norm()) < 100 * bound * float(b.norm()) + least

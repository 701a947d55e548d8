"""A network in half precision that never gives a black image."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from omgsr.core.parallel import side_by_side
from omgsr.inference.tile_context import Context

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


class NonFiniteImage(RuntimeError):
    """A network gave infinities or NaN in fp32: its weights or its adapters are damaged."""


class Part:
    """Encoder, denoiser or decoder, in the precision asked for, and in fp32 where that overflows.

    The weights are cast once. Where the result is not finite, they are fp32 until `reset`.
    """

    def __init__(
        self,
        name: str,
        modules: Sequence[nn.Module | None],
        function: Callable[[Tensor], Tensor],
        precision: Precision,
        notes: list[str],
        device: torch.device,
    ) -> None:
        """`function` computes with `modules` on `device`; what happens is added to `notes`."""
        self.name, self.function, self.notes, self._device = name, function, notes, device
        together: Any = nn.ModuleList([m for m in modules if m is not None])
        self.modules = together
        self.context = Context(self.modules)
        self.precision = precision
        if precision == "fp16" and not self._fits(torch.float16):
            self.notes.append(f"{name}: weights too large for {precision}, kept in fp32")
            self.precision = "fp32"
        self.dtype: torch.dtype | None = None
        if self._device.type != "mps":  # the layout that convolutions take without a copy
            self.modules.to(memory_format=torch.channels_last)
        self.reset()

    def reset(self) -> None:
        """Back to the precision asked for, before the next images."""
        self._cast(DTYPES[self.precision])

    def __call__(self, x: Tensor, workers: int | None = None) -> Tensor:
        """Images or latents in fp32 or whole numbers, anywhere => fp32 on the network's device.

        With `workers`, each image is computed on one core, so many of them side by side.
        """
        x = unit(x.to(self._device))
        result = self._run(x, workers)
        bad = ~result.isfinite().flatten(1).all(1)
        if self.dtype != torch.float32 and bad.any():
            self.notes.append(f"{self.name}: overflow in {self.precision}, computed in fp32")
            self._cast(torch.float32)
            result[bad] = self._run(x[bad], workers)
        if not result.isfinite().all():
            raise NonFiniteImage(
                f"the {self.name} gives infinities or NaN in fp32; check its weights and adapters"
            )
        return result

    def _run(self, x: Tensor, workers: int | None) -> Tensor:
        self.context.begin()
        if workers is None:
            return self._compute(x)
        return torch.cat(side_by_side(self._compute, x.split(1), workers))

    @torch.inference_mode()  # each thread has a mode of its own
    def _compute(self, x: Tensor) -> Tensor:
        return self.function(x.to(self.dtype)).float()

    def _fits(self, dtype: torch.dtype) -> bool:
        """Whether no weight becomes infinite."""
        limit = torch.finfo(dtype).max
        return all(float(p.detach().abs().max()) <= limit for p in self.modules.parameters())

    def _cast(self, dtype: torch.dtype) -> None:
        if dtype != self.dtype:
            with torch.inference_mode(False):  # weights are never inference tensors
                self.modules.to(dtype)
            self.dtype = dtype


def unit(x: Tensor) -> Tensor:
    """uint8 or uint16 => fp32 in [-1, 1]; what is in floating point stays."""
    if x.is_floating_point():
        return x
    return x.float().div(torch.iinfo(x.dtype).max / 2).sub(1).contiguous()

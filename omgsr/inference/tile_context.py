"""Tiles that are normalised and attend as parts of the whole image.

A tile on its own has its own GroupNorm statistics and attends to nothing outside: tiles then differ
in colour and contrast. So the network is run once over the reduced image. Its statistics are used
in every tile, and a sample of its tokens stands in self-attention for what is outside the tile.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from omgsr.core import seeding
from omgsr.inference.tiling import Box

Args = tuple[Tensor, ...]
Call = tuple[Args, dict[str, Any]]
TOKENS = 1024
"""Most tokens of the reduced image that an attention keeps for the tiles."""
SEEN = 4096
"""Most tokens that an attention looks at in the reduced image itself."""


class Context:
    """Statistics and tokens of one image in one network, for its tiles.

    A module may be used several times in a run; each use has its own.
    """

    def __init__(self, network: nn.Module) -> None:
        self._norms: list[Any] = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
        self._attentions: list[Any] = [m for m in network.modules() if isinstance(m, Attention)]
        self._kept: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        self._used: dict[nn.Module, int] = {}
        self._surveying = False
        self._corners = self._ends = torch.empty(0)
        self._rest = 0.0

    @property
    def empty(self) -> bool:
        """Whether the network has nothing that goes by the whole image."""
        return not self._norms and not self._attentions

    @contextmanager
    def survey(self, height: int, width: int) -> Iterator[None]:
        """Inside, the network takes the reduced image, (1, C, height, width), and it is kept."""
        self._surveying = True
        with ExitStack() as stack:
            stack.callback(setattr, self, "_surveying", False)
            for norm in self._norms:
                stack.enter_context(norm.register_forward_pre_hook(self._measure))
            for attention in self._attentions:
                hook = partial(self._sample, size=(height, width))
                stack.enter_context(attention.register_forward_pre_hook(hook, with_kwargs=True))
            yield

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network takes tiles; `place` says before each run where they are."""
        with ExitStack() as stack:
            for norm in self._norms:
                norm.forward = partial(self._normalise, norm)
                stack.callback(delattr, norm, "forward")
            for attention in self._attentions:
                hook = attention.register_forward_pre_hook(self._attend, with_kwargs=True)
                stack.enter_context(hook)
            yield

    def begin(self) -> None:
        """Says that a run begins: of a survey, what an earlier one has found is forgotten."""
        self._used = {}
        if self._surveying:
            self._kept = {}

    def place(self, boxes: Sequence[Box], height: int, width: int) -> None:
        """The tiles of the next run, in an input of height x width."""
        sides = torch.tensor([height, width])
        self._corners = torch.tensor([[b.top, b.left] for b in boxes]) / sides
        self._ends = torch.tensor([[b.top + b.height, b.left + b.width] for b in boxes]) / sides
        self._rest = height * width / (boxes[0].height * boxes[0].width) - 1

    def _keep(self, module: nn.Module, first: Tensor, second: Tensor) -> None:
        self._kept.setdefault(module, []).append((first, second))

    def _recall(self, module: nn.Module) -> tuple[Tensor, Tensor]:
        use = self._used.get(module, 0)
        self._used[module] = use + 1
        return self._kept[module][use]

    def _measure(self, norm: Any, args: Args) -> None:
        """Keeps mean and variance of every channel's group: (C,) fp32 each."""
        x, repeats = args[0].float(), args[0].shape[1] // norm.num_groups
        variance, mean = torch.var_mean(x.reshape(norm.num_groups, -1), 1, correction=0)
        self._keep(norm, mean.repeat_interleave(repeats), variance.repeat_interleave(repeats))

    def _normalise(self, norm: Any, x: Tensor) -> Tensor:
        """GroupNorm with known statistics is what batch normalisation is after training."""
        mean, variance = self._recall(norm)
        weight, bias = norm.weight.float(), norm.bias.float()
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=norm.eps)

    def _sample(
        self, attention: Any, args: Args, kwargs: dict[str, Any], size: tuple[int, int]
    ) -> Call | None:
        """Keeps tokens, (m, C), and their places in the image, (m, 2) of 0..1.

        Where there are many tokens, they attend to SEEN of them: time stays proportional to area.
        """
        if kwargs.get("encoder_hidden_states") is not None:  # it looks at the prompt
            return None
        tokens = _tokens(attention, args[0])[0]
        reduction = round((size[0] * size[1] / len(tokens)) ** 0.5)
        height, width = size[0] // reduction, size[1] // reduction
        rng = seeding.torch_rng(0, "tokens", len(tokens))
        order = torch.randperm(len(tokens), generator=rng)
        chosen = order[:TOKENS]
        places = torch.stack([(chosen // width + 0.5) / height, (chosen % width + 0.5) / width], 1)
        self._keep(attention, tokens[chosen.to(tokens.device)], places)
        if len(tokens) <= SEEN:
            return None
        seen = tokens[order[:SEEN].to(tokens.device)]
        return args, {**kwargs, "encoder_hidden_states": seen[None]}

    def _attend(self, attention: Any, args: Args, kwargs: dict[str, Any]) -> Call | None:
        """Self-attention looks at the tile's tokens and at those of the image outside the tile.

        One token of the sample stands for as many as the image has for it: its logit is greater
        by the logarithm of their number.
        """
        if kwargs.get("encoder_hidden_states") is not None:
            return None
        own = _tokens(attention, args[0])
        tokens, places = self._recall(attention)
        before, after = places < self._corners[:, None], places >= self._ends[:, None]
        outside = (before | after).any(2)  # (tiles, tokens)
        number = own.shape[1] * self._rest / outside.sum(1, keepdim=True).clamp(min=1)
        logits = number.log().expand_as(outside).masked_fill(~outside, -torch.inf)
        mask = F.pad(logits, (own.shape[1], 0))[:, None]
        seen = torch.cat([own, tokens.to(own.dtype).expand(len(own), -1, -1)], 1)
        changed = {"encoder_hidden_states": seen, "attention_mask": mask.to(own)}
        return args, {**kwargs, **changed}


def _tokens(attention: Any, x: Tensor) -> Tensor:
    """What an attention projects: (B, C, h, w) or (B, n, C) => (B, n, C), normalised if it does."""
    x = x.flatten(2).transpose(1, 2) if x.ndim == 4 else x
    if attention.group_norm is None:
        return x
    return attention.group_norm(x.transpose(1, 2)).transpose(1, 2)

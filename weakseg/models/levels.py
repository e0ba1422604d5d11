"""Give what named layers of a classifier say on the way to its features, as feature maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from weakseg.models.classifiers import Classifier
from weakseg.models.layers import find_layer

_MAP_DIMENSIONS = 4


def level_maps(
    model: Classifier, images: Tensor, levels: Sequence[str]
) -> tuple[list[Tensor], Tensor]:
    """Run pictures through a classifier's network, and listen to some of its layers.

    Args:
        model: The classifier; its head takes no part.
        images: (B, 3, H, W) float32 in [0, 1].
        levels: Names of layers, as timm has them.

    Returns:
        What each level gives, (B, D, h, w), in the order of `levels`; and the network's features,
        (B, D, h, w). Tokens lose their prefix and become a map.

    Raises:
        ValueError: If a level takes no part in the forward pass.
    """
    heard: dict[str, Tensor] = {}
    # For this pass only: a hook that stayed would tie copies of the network to the original.
    handles = [
        find_layer(model.backbone, level).register_forward_hook(_recorder(heard, level))
        for level in levels
    ]
    try:
        features = model.features(images)
    finally:
        for handle in handles:
            handle.remove()
    silent = [level for level in levels if level not in heard]
    if silent:
        raise ValueError(f"levels: {silent[0]} takes no part in {model.name}: name another")
    grid = model.token_grid(*images.shape[-2:])
    return [_as_map(model, heard[level], grid) for level in levels], _as_map(model, features, grid)


def _as_map(model: Classifier, tensor: Tensor, grid: tuple[int, int] | None) -> Tensor:
    if grid is None or tensor.ndim == _MAP_DIMENSIONS:
        last = getattr(model.backbone, "output_fmt", "NCHW") == "NHWC"
        return tensor.permute(0, 3, 1, 2) if last else tensor
    tokens = tensor[:, model.prefix_tokens :]
    b, _, d = tokens.shape
    return tokens.transpose(1, 2).reshape(b, d, *grid)  # (B, N, D) -> (B, D, h, w)


def _recorder(heard: dict[str, Tensor], level: str) -> Callable[..., None]:
    def hear(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        heard[level] = output

    return hear

"""Listen to the layers of a network during one forward pass: activations and gradients."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from weakseg.models import Classifier
from weakseg.models.layers import find_layer

log = logging.getLogger(__name__)

_MAP_DIMENSIONS = 4
_LARGEST_SCALE = 2.0**15
_SCALE_STEP = 2.0**5


class LayerTap:
    """Record what named layers give during forward passes, as feature maps of (B, D, h, w).

    Tokens of a ViT lose their prefix (class token, registers) and become a map again;
    channels-last maps become channels-first. Use it as a context manager:

        with LayerTap(model, ["layer3", "layer4"]) as tap:
            logits = model(images)
            maps = tap.activations()
            gradients = tap.gradients(logits.sum())

    Args:
        model: The classifier.
        layers: Names as `layer4`, `blocks.-1.norm1` or `blocks[-1].norm1`, of timm's network.

    Raises:
        ValueError: If a layer does not exist; the message lists close names.
    """

    def __init__(self, model: Classifier, layers: Sequence[str]) -> None:
        """Find the layers; nothing is recorded yet."""
        if not layers:
            raise ValueError("layers must name at least one layer")
        self.layers = tuple(layers)
        self._model = model
        self._modules = [find_layer(model.backbone, name) for name in layers]
        self._outputs: dict[int, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._grid: tuple[int, int] | None = None

    def __enter__(self) -> LayerTap:
        """Start to listen."""
        self._handles = [
            module.register_forward_hook(self._recorder(index))
            for index, module in enumerate(self._modules)
        ]
        self._handles.append(self._model.register_forward_pre_hook(self._note_size))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening and forget what was heard."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._outputs.clear()

    def activations(self) -> list[Tensor]:
        """Give the last forward pass's maps, detached, (B, D, h, w) each, as `layers` orders."""
        return [self._as_map(tensor.detach(), name) for name, tensor in self._recorded()]

    def gradients(self, target: Tensor) -> list[Tensor]:
        """Give h*w times the gradient of `target` with respect to each map, by one backward pass.

        Args:
            target: A scalar that depends on the layers; the sum of a batch's logits gives each
                image its own gradient as long as the images do not mix (eval mode).
        """
        recorded = self._recorded()
        found = gradients_of(target, [tensor for _, tensor in recorded])
        maps = []
        for (name, tensor), gradient in zip(recorded, found, strict=True):
            if gradient is None:
                log.debug("the logit does not depend on layer %s", name)
            kept = torch.zeros_like(tensor) if gradient is None else gradient
            grid = self._as_map(kept, name)
            maps.append(grid * (grid.shape[-2] * grid.shape[-1]))
        return maps

    def _recorded(self) -> list[tuple[str, Tensor]]:
        silent = [name for i, name in enumerate(self.layers) if i not in self._outputs]
        if silent:
            raise ValueError(f"layer {silent[0]} took no part in the forward pass: name another")
        return [(name, self._outputs[i]) for i, name in enumerate(self.layers)]

    def _note_size(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._outputs.clear()
        height, width = inputs[0].shape[-2:]
        self._grid = self._model.token_grid(height, width)

    def _recorder(self, index: int) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
            if not isinstance(output, Tensor):
                raise ValueError(f"layer {self.layers[index]} gives no single tensor: name another")
            if torch.is_grad_enabled() and not output.requires_grad:
                output.requires_grad_()
            self._outputs[index] = output
            # A copy goes on: the next layer may work in place, on what we keep.
            return output.clone()

        return record

    def _as_map(self, tensor: Tensor, name: str) -> Tensor:
        if tensor.ndim == _MAP_DIMENSIONS:
            last = getattr(self._model.backbone, "output_fmt", "NCHW") == "NHWC"
            return tensor.permute(0, 3, 1, 2) if last else tensor
        if tensor.ndim == _MAP_DIMENSIONS - 1 and self._grid is not None:
            tokens = tensor[:, self._model.prefix_tokens :]  # (B, N, D)
            b, n, d = tokens.shape
            if n == self._grid[0] * self._grid[1]:
                return tokens.transpose(1, 2).reshape(b, d, *self._grid)
        shape = tuple(tensor.shape)
        raise ValueError(f"layer {name} gives no feature map but a tensor of {shape}: name another")


def gradients_of(target: Tensor, tensors: Sequence[Tensor]) -> Sequence[Tensor | None]:
    """Give the gradient of a scalar with respect to each tensor; None where it does not depend.

    In mixed precision of 16-bit floats the small gradients of single positions would be lost on
    their way back. There the target is scaled up, less where that overflows, and the gradients are
    scaled down again in float32. Everywhere else they keep the type of the tensors.
    """
    if not _in_half_precision(target, tensors):
        return torch.autograd.grad(target, list(tensors), allow_unused=True)
    scale = _LARGEST_SCALE
    while True:
        found: Sequence[Tensor | None] = torch.autograd.grad(
            target.float() * scale, list(tensors), allow_unused=True, retain_graph=True
        )
        wide = [None if each is None else each.float() / scale for each in found]
        if scale == 1 or all(each is None or bool(each.isfinite().all()) for each in wide):
            return wide
        scale /= _SCALE_STEP


def _in_half_precision(target: Tensor, tensors: Sequence[Tensor]) -> bool:
    device = target.device.type
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.float16:
        return True
    return any(tensor.dtype == torch.float16 for tensor in (target, *tensors))


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Hold a network still: eval mode, and no graph stored before the first tapped layer."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    modes = [(module, module.training) for module in model.modules()]
    for parameter in trained:
        parameter.requires_grad_(False)
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training
        for parameter in trained:
            parameter.requires_grad_()

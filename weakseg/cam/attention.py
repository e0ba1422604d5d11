"""Listen to the attention of a vision transformer: who looked at whom, block by block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import TracebackType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from weakseg.cam.hooks import gradients_of
from weakseg.models import Classifier, LocalClassifier
from weakseg.models.layers import canonical_name

_ROW_SUM_TOLERANCE = 0.02
"""Rows of an attention sum to 1; bfloat16 loses up to 1 % of it."""

_WAY_OUT = "take cam=local or cam=layer_cam, and cam.affinity_steps=0"


class AttentionTap:
    """Record the attention maps of a ViT's blocks during forward passes.

    timm's fused attention never forms the maps. Inside the context its blocks take their plain way
    instead, softmax(q k') v, and what is recorded is the very tensor that weighs the values: with
    it the network gives the same answer, up to rounding. Use it as a context manager:

        with AttentionTap(model, ["blocks.-2", "blocks.-1"]) as tap:
            logits = model(images)
            attentions = tap.attentions()

    Maps are (B, heads, N, N) float32, >= 0; row i holds the weights with which token i reads all
    tokens, and sums to 1. The prefix (class token, distillation token, registers) comes first.

    Args:
        model: The classifier, a timm ViT.
        layers: Blocks, as `blocks.5` or `blocks[-1]`; a layer inside a block stands for its block.
            Empty takes all. They are recorded from shallow to deep.
        mean_heads: Keep only the mean over heads, detached: (B, N, N). It saves memory.

    Raises:
        ValueError: If the network is no plain ViT, or a layer lies in none of its blocks.
    """

    def __init__(
        self, model: Classifier, layers: Sequence[str] = (), *, mean_heads: bool = False
    ) -> None:
        """Find the blocks; nothing is recorded yet."""
        modules = attention_modules(model)
        self.blocks = block_indices(model, layers)
        self._model, self._mean_heads = model, mean_heads
        self._modules = [modules[index] for index in self.blocks]
        self._heard: dict[int, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._fused: list[tuple[Any, bool]] = []
        self._tokens = 0

    def __enter__(self) -> AttentionTap:
        """Start to listen; fused attention is off."""
        backbone = cast(Any, self._model.backbone)
        self._handles = [backbone.patch_embed.register_forward_pre_hook(self._note_size)]
        for place, module in enumerate(self._modules):
            if hasattr(module, "fused_attn"):
                self._fused.append((module, module.fused_attn))
                module.fused_attn = False
            hook = self._recorder(place)
            self._handles.append(module.attn_drop.register_forward_pre_hook(hook))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening, forget what was heard, and fuse again what was fused."""
        for handle in self._handles:
            handle.remove()
        for module, was_fused in self._fused:
            module.fused_attn = was_fused
        self._handles.clear()
        self._fused.clear()
        self._heard.clear()

    def attentions(self) -> list[Tensor]:
        """Give the last forward pass's maps, detached, shallow to deep."""
        return [attention.detach().float() for attention in self._recorded()]

    def gradients(self, target: Tensor) -> list[Tensor]:
        """Give the gradient of `target`, a scalar, with respect to every map, in one backward pass.

        A block on which the target does not depend gives zeros.
        """
        if self._mean_heads:
            raise ValueError("mean_heads keeps no graph: leave it out to have gradients")
        recorded = self._recorded()
        found = gradients_of(target, recorded)
        return [
            (torch.zeros_like(attention) if gradient is None else gradient).float()
            for attention, gradient in zip(recorded, found, strict=True)
        ]

    def _recorded(self) -> list[Tensor]:
        if len(self._heard) < len(self._modules):
            raise ValueError(f"not every block of {self._model.name} gives its attention away")
        return [self._heard[place] for place in range(len(self._modules))]

    def _note_size(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._heard.clear()
        rows, columns = self._model.token_grid(*inputs[0].shape[-2:]) or (0, 0)
        self._tokens = self._model.prefix_tokens + rows * columns

    def _recorder(self, place: int) -> Any:
        def record(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            attention: Tensor = inputs[0]
            self._check(attention)
            if self._mean_heads:
                attention = attention.detach().float().mean(dim=1)  # (B, heads, N, N) -> (B, N, N)
            elif torch.is_grad_enabled() and not attention.requires_grad:
                attention.requires_grad_()
            self._heard[place] = attention

        return record

    def _check(self, attention: Tensor) -> None:
        """Refuse what only looks like attention: windows, channels, unnormalised mixtures."""
        sums = attention.detach().sum(dim=-1)
        is_whole = attention.shape[2:] == (self._tokens, self._tokens)
        if not (is_whole and bool(((sums - 1).abs() < _ROW_SUM_TOLERANCE).all())):
            raise ValueError(
                f"{self._model.name} has no attention from every token to every token: it gives "
                f"{tuple(attention.shape)} for {self._tokens} tokens; {_WAY_OUT}"
            )


def attention_modules(model: Classifier) -> list[Any]:
    """Give the attention of every block of a ViT, shallow to deep.

    Raises:
        ValueError: If the network is no ViT, or a block has none or several.
    """
    if model.patch_size is None:
        raise ValueError(
            "attention maps need a vision transformer (classifier=deit_tiny, vit or vit_base), "
            f"which {model.name} is not: {_WAY_OUT}"
        )
    found = []
    for index, block in enumerate(cast(Any, model.backbone).blocks):
        own = [m for m in block.modules() if isinstance(getattr(m, "attn_drop", None), nn.Module)]
        if len(own) != 1:
            raise ValueError(
                f"block {index} of {model.name} has {len(own)} attentions where a plain vision "
                f"transformer has one: {_WAY_OUT}"
            )
        found.append(own[0])
    return found


def block_indices(model: Classifier, layers: Sequence[str]) -> list[int]:
    """Give the numbers of the blocks that `layers` name or lie in, sorted; all for no layers.

    Raises:
        ValueError: If a layer does not exist or lies in no block.
    """
    count = len(attention_modules(model))
    if not layers:
        return list(range(count))
    chosen = set()
    for layer in layers:
        found = re.match(r"blocks\.(\d+)(?:\.|$)", canonical_name(model.backbone, layer))
        if found is None:
            raise ValueError(f"layer {layer} lies in no block of {model.name}: name as blocks.-1")
        chosen.add(int(found[1]))
    return sorted(chosen)


def reading_tokens(model: Classifier, tokens: int) -> list[int]:
    """Give the numbers of the tokens that the answer is read from.

    The class token (and DeiT's distillation token) where the head reads it; all patches of a ViT
    that pools them, and of a `LocalClassifier`, whose heads see nothing else.

    Args:
        model: The classifier, a timm ViT.
        tokens: N, how many tokens there are, with the prefix.
    """
    backbone = model.backbone
    pools = getattr(backbone, "global_pool", "token") != "token"
    if pools or isinstance(model, LocalClassifier):
        return list(range(model.prefix_tokens, tokens))
    return [0, 1] if getattr(backbone, "dist_token", None) is not None else [0]


def looks_of(model: Classifier, height: int, width: int) -> int:
    """Give how many entries a block's attention maps have for a picture: heads times tokens^2.

    "attention_gradient" holds those of all blocks, with as many gradients; the other methods keep
    the means over heads of the blocks that they read.
    """
    rows, columns = model.token_grid(height, width) or (0, 0)
    tokens = model.prefix_tokens + rows * columns
    heads = max(int(getattr(module, "num_heads", 1)) for module in attention_modules(model))
    return max(1, heads * tokens * tokens)


def full_precision(images: Tensor) -> torch.autocast:
    """Leave mixed precision for a while: products of many attentions would lose their digits."""
    return torch.autocast(images.device.type, enabled=False)

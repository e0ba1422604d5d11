"""Build optimisers whose new parts learn faster than the pretrained ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from weakseg.checks import check_positive


def with_faster_head(
    make: Callable[..., Optimizer], model: nn.Module, factor: float
) -> Callable[[list[dict[str, Any]]], Optimizer]:
    """Wrap an optimiser so that parameters outside the pretrained part get `factor` times its lr.

    A model says which parameters are new by `new_parameters()`.

    Args:
        make: Takes parameter groups; its own `lr` is that of the pretrained part.
        model: Classifier or segmenter.
        factor: > 0.
    """
    check_positive(head_lr_factor=factor)
    new = {id(parameter) for parameter in model.new_parameters()}  # type: ignore[operator]

    def build(groups: list[dict[str, Any]]) -> Optimizer:
        split: list[dict[str, Any]] = []
        for group in groups:
            for is_new in (False, True):
                chosen = [p for p in group["params"] if (id(p) in new) is is_new]
                if chosen:
                    split.append({**group, "params": chosen, "is_new": is_new})
        optimizer = make(split)
        for group in optimizer.param_groups:
            if group.pop("is_new"):
                group["lr"] *= factor
        return optimizer

    return build

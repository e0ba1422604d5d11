"""Read the log-odds of smoke from what a classifier answers."""

from __future__ import annotations

from torch import Tensor

from weakseg.labels import BACKGROUND, SMOKE

_BINARY = 2


def smoke_logit(logits: Tensor) -> Tensor:
    """Give the log-odds of smoke, (B,), from (B, 1) or, of background and smoke, (B, 2) logits."""
    if logits.shape[1] == 1:
        return logits[:, 0]
    if logits.shape[1] == _BINARY:
        return logits[:, SMOKE] - logits[:, BACKGROUND]
    raise ValueError(f"the classifier has {logits.shape[1]} classes, but smoke needs 1 or 2")

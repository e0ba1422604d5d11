"""Learn a yes/no label per frame, however unequal the two are in number."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from weakseg.checks import check_in_unit, check_positive, check_shape


def bce_with_balance(
    logits: Tensor,
    labels: Tensor,
    *,
    positive_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the binary cross-entropy of frames' labels, smoke weighed against its rarity.

    Args:
        logits: (B,) of smoke.
        labels: (B,) 0 or 1.
        positive_weight: Weight of smoke beside the 1 of no smoke, > 0; see `positive_weight_of`.
        label_smoothing: Moves the targets towards 0.5, in [0, 1]: 0.1 makes them 0.05 and 0.95.

    Returns:
        () mean over the frames, >= 0.

    Raises:
        ValueError: If shapes or settings do not fit.
    """
    check_shape((None,), logits=logits)
    check_shape(tuple(logits.shape), labels=labels)
    check_positive(positive_weight=positive_weight)
    check_in_unit(label_smoothing=label_smoothing)
    # bf16 carries three digits: too few for a mean.
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    target = labels.to(wide.dtype)
    target = target * (1 - label_smoothing) + 0.5 * label_smoothing
    weight = wide.new_tensor(positive_weight)
    return functional.binary_cross_entropy_with_logits(wide, target, pos_weight=weight)


def positive_weight_of(labels: Sequence[int]) -> float:
    """Return the weight that gives smoke and no smoke an equal say: negatives per positive.

    Raises:
        ValueError: If one of the two is missing.
    """
    positives = sum(1 for label in labels if label == 1)
    negatives = len(labels) - positives
    if positives == 0 or negatives == 0:
        raise ValueError(
            f"labels must hold both smoke and no smoke, got {positives} with and {negatives} "
            "without: add frames of the other kind"
        )
    return negatives / positives

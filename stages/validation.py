"""Measure a network that is being trained by the image labels of the validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from weakseg.data import ClassificationData, Frame, make_loader
from weakseg.metrics import auroc
from weakseg.training import FitSettings


def answers_of(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Give what a classifier is measured by: its answers to the frames, (B,)."""
    return {"auroc": model(images).float().mean(dim=1)}


def validator(
    frames: Sequence[Frame],
    image_size: int,
    settings: FitSettings,
    *,
    measure: Callable[[nn.Module, Tensor], dict[str, Tensor]] = answers_of,
) -> Callable[[nn.Module], dict[str, float]]:
    """Measure a model by the image labels of `frames`.

    Args:
        frames: Of both labels.
        image_size: In pixels, of the square that the model reads.
        settings: Give the size of a batch.
        measure: Gives values by name for pictures. "auroc" are the answers by which an epoch is
            chosen; of all that ends with "auroc" the AUROC is told, of "spread" the highest.
    """
    data = ClassificationData(frames, image_size=image_size)
    size = settings.batch_size
    batches = [
        [(0, i) for i in range(start, min(start + size, len(frames)))]
        for start in range(0, len(frames), size)
    ]
    labels = np.array([frame.label for frame in frames])

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        told: dict[str, list[Tensor]] = {}
        for batch in make_loader(data, batches, workers=settings.workers):
            for name, values in measure(model, batch["image"].to(device)).items():
                told.setdefault(name, []).append(values.float().cpu())
        found = {name: torch.cat(parts).double().numpy() for name, parts in told.items()}
        logits = found["auroc"]
        entropy = float(np.mean(np.logaddexp(0, np.where(labels == 1, -logits, logits))))
        figures = {k: auroc(labels, v) for k, v in found.items() if k.endswith("auroc")}
        figures |= {k: float(v.max()) for k, v in found.items() if k.endswith("spread")}
        # AUROC saturates on easy data: cross-entropy settles ties. A nat of it weighs as much as
        # one wrong pair in 10,000, so with many frames it also decides between near ties.
        selection = figures["auroc"] - 1e-4 * entropy
        return {**figures, "cross_entropy": entropy, "selection": selection}

    return validate

"""Tiny networks and scenes to train a student beside a teacher within a second."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from weakseg.data import EpochSampler
from weakseg.losses import ConsistencyLoss
from weakseg.metrics import auroc
from weakseg.models import Classifier, build_classifier
from weakseg.models.student import ConsistentClassifier, probe
from weakseg.training.consistency import lesson_of

SIDE = 32


def small(name: str, *, local: bool = True, seed: int = 0) -> Classifier:
    """A network of a few thousand weights, the same for the same seed."""
    torch.manual_seed(seed)
    return build_classifier(name, local=local, weights=None, image_size=SIDE)


def pair_of(
    *, loss: ConsistencyLoss | None = None, peer: bool = False, memory: int = 0
) -> ConsistentClassifier:
    """A ViT beside a CNN, with the projection that the loss takes."""
    loss = ConsistencyLoss() if loss is None else loss
    teacher = small("test_resnet", seed=1)
    channels = lesson_of(probe(teacher), loss.target).target.shape[1]
    student = small("test_vit")
    return ConsistentClassifier(
        student,
        channels=channels if loss.needs_projection else 0,
        peer=teacher if peer else None,
        memory=memory,
    )


class Scenes(Dataset[dict[str, Tensor]]):
    """Eight frames of noise, every other one with a bright square."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        generator = torch.Generator().manual_seed(100 * epoch + index)
        image = 0.4 * torch.rand(3, SIDE, SIDE, generator=generator)
        image[:, 8:20, 4:16] += 0.5 * (index % 2)
        return {"image": image, "label": torch.tensor(float(index % 2))}


def in_order(scenes: Scenes) -> EpochSampler:
    return EpochSampler(len(scenes), seed=0, batch_size=4, balance=None, drop_last=True)


def auroc_of(scenes: Scenes, model: nn.Module) -> dict[str, float]:
    items = [scenes[9, index] for index in range(len(scenes))]
    seen, _ = model(torch.stack([item["image"] for item in items]))
    labels = np.array([float(item["label"]) for item in items])
    return {"auroc": auroc(labels, seen.logits.mean(dim=1).numpy().astype(np.float64))}

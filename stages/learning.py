"""Train a segmenter on masks: what stage 3 and the rounds of self-training share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from weakseg.artifacts import RunPaths
from weakseg.data import (
    EpochSampler,
    Frame,
    SegmentationData,
    SegmentationItem,
    make_loader,
)
from weakseg.labels import SMOKE
from weakseg.metrics import auroc
from weakseg.models import SegmentationModel
from weakseg.plans import LearningPlan
from weakseg.stages.optimisers import with_faster_head
from weakseg.stages.scores import frame_score, mask_path
from weakseg.training import FitResult, FitSettings, NoisyMasks, StopFlag, fit
from weakseg.training.fit import OnLog, Validate

_UNLABELLED: Final = 2
"""Drawn like a label of its own, so that frames with masks are not lost among those without."""


def list_items(
    frames: Sequence[Frame],
    folder: RunPaths,
    *,
    kept: Collection[str],
    weights: Path | None = None,
) -> list[SegmentationItem]:
    """List what to learn from, by pseudo-masks and the labels that citizens gave.

    A training frame labelled smoke-free is background everywhere, whatever the classifier thought.
    A frame labelled smoke teaches its pseudo-mask, and is left out if that is empty: where its
    smoke is, nobody knows.

    Args:
        frames: Of any split; those of `train` teach.
        folder: Whose masks are learnt.
        kept: Ids of the frames whose mask shows smoke.
        weights: Folder of the weights of the pixels of those frames; None weighs all alike.
    """
    items = []
    for frame in frames:
        if frame.split != "train" or (frame.label == SMOKE and frame.id not in kept):
            continue
        if frame.label == SMOKE:
            weight = None if weights is None else weights / f"{frame.id}.png"
            items.append(
                SegmentationItem(frame, mask_path(folder, frame.id), weight, is_noisy=True)
            )
        else:
            items.append(SegmentationItem(frame, None))
    return items


def fit_segmenter(
    plan: LearningPlan,
    segmenter: SegmentationModel,
    items: Sequence[SegmentationItem],
    *,
    seed: int,
    validate: Validate,
    folder: RunPaths,
    on_log: OnLog,
    stop: StopFlag,
    monitor: str | None = "selection",
    noise: NoisyMasks | None = None,
) -> FitResult:
    """Fit the segmenter to the masks of `items`, smoke and smoke-free frames equally often.

    Frames without any label of their pixels come as often as each of those.

    Checkpoints and figures go to `folder`, from where an interrupted training goes on. Afterwards
    the segmenter holds the best epoch by the figure `monitor` of `validate`, or the last by None.
    `noise` says what to believe of masks that may be wrong; None believes them.
    """
    settings: FitSettings = plan.fit
    return fit(
        segmenter,
        optimizer_factory=with_faster_head(plan.optimizer, segmenter, plan.head_lr_factor),
        dataset=SegmentationData(
            items, image_size=plan.image_size, augment=plan.augmentation, seed=seed
        ),
        sampler=EpochSampler(
            len(items),
            seed=seed,
            batch_size=settings.batch_size,
            balance=[_UNLABELLED if item.is_unlabelled else item.frame.label for item in items],
            drop_last=True,
        ),
        step_loss=functools.partial(step_loss, plan.loss, segmenter, noise),
        validate=validate,
        monitor=monitor,
        settings=settings,
        checkpoints=folder.checkpoints,
        on_log=on_log,
        stop=stop,
        log_path=folder.metrics_path,
        companion=noise,
    )


def step_loss(
    loss: Callable[..., dict[str, Tensor]],
    segmenter: SegmentationModel,
    noise: NoisyMasks | None,
    model: nn.Module,
    batch: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Give the losses of a batch by name; "loss" is what training makes small.

    A network with side outputs adds what it makes of them, by name; one that learns by itself
    takes the masks, and the instances if they are known, and gives all its losses.

    Args:
        loss: Of logits, mask, weight and images.
        segmenter: The bare network, which says what it can do.
        noise: What to believe of masks that may be wrong; None believes them.
        model: The same network, as training wraps it.
        batch: As `SegmentationData` gives it.
    """
    image, mask, weight = batch["image"], batch["mask"], batch["weight"]
    if segmenter.learns_itself:
        known = {"instances": batch["instances"]} if "instances" in batch else {}
        own: dict[str, Tensor] = model(image, mask=mask, weight=weight, **known)
        return own
    sides: dict[str, Tensor] = {}
    if segmenter.has_sides:
        logits, sides = model(image, with_sides=True)
    else:
        logits = model(image)
    told: dict[str, Tensor] = {}
    if noise is not None:
        mask, told = noise.target(logits, batch)
    parts = loss(logits, mask, weight=weight, images=image)
    extra = segmenter.side_loss(sides, mask, weight) if segmenter.has_sides else {}
    if noise is not None:
        extra |= noise.agreement(logits, batch)
    twice = parts.keys() & extra.keys()
    if twice:
        raise ValueError(f"the network and its loss both name {', '.join(sorted(twice))}")
    if not extra:
        return {**parts, **told}
    whole = torch.stack([parts["loss"], *extra.values()]).sum()
    return {**parts, **extra, **told, "loss": whole}


def validate_by_labels(
    plan: LearningPlan, frames: Sequence[Frame], folder: RunPaths | None
) -> Validate:
    """Measure a model by the labels of `frames` and by their pseudo-masks in `folder`.

    The figure "selection" is the mean of the AUROC of the frames' scores and of the IoU with the
    pseudo-masks of those that have one; without pseudo-masks it is the AUROC.
    """
    items = [
        SegmentationItem(frame, None if folder is None else mask_path(folder, frame.id))
        for frame in frames
    ]
    data = SegmentationData(items, image_size=plan.image_size)
    size = plan.fit.batch_size
    batches = [
        [(0, i) for i in range(start, min(start + size, len(items)))]
        for start in range(0, len(items), size)
    ]
    labels = np.array([frame.label for frame in frames])

    def validate(model: nn.Module) -> dict[str, float]:
        device = next(model.parameters()).device
        scores, found = [], []
        for batch in make_loader(data, batches, workers=plan.fit.workers):
            smoke = model(batch["image"].to(device)).float().softmax(dim=1)[:, SMOKE].cpu()
            scores += [frame_score(one.numpy()) for one in smoke]
            found += overlaps(smoke, batch["mask"])
        area = auroc(labels, np.array(scores))
        if folder is None:
            return {"auroc": area, "selection": area}
        agreement = float(np.mean(found or [0.0]))
        return {"auroc": area, "pseudo_iou": agreement, "selection": (area + agreement) / 2}

    return validate


def overlaps(smoke: Tensor, masks: Tensor) -> list[float]:
    """Give the IoU with the pseudo-mask of every frame that has one; ignored pixels do not count.

    Args:
        smoke: (B, H, W) probabilities of smoke.
        masks: (B, H, W) int64 class ids; 255 is ignored.
    """
    found = []
    for score, mask in zip(smoke, masks, strict=True):
        if not (mask == SMOKE).any():
            continue
        counted = mask <= SMOKE
        predicted, wanted = (score > 0.5) & counted, mask == SMOKE
        found.append(float((predicted & wanted).sum() / (predicted | wanted).sum()))
    return found

"""Train a student beside a teacher: one step of it, and the signs that it has collapsed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_positive
from weakseg.losses import ConsistencyLoss
from weakseg.models import Classifier
from weakseg.models.pooling import topk_mean
from weakseg.models.student import ConsistentClassifier, View, as_logits, class_logits, view
from weakseg.training.engine import casting, choose_accelerator, choose_precision

CHANCE_AUROC: Final = 0.55
"""A student that tells val's labels no better than this has learnt nothing."""

_SMALLEST: Final = 1e-8
_PEAK_SHARE: Final = 0.03


class Lesson(NamedTuple):
    """What a teacher says of pictures: logits of positions (B, 1, h, w), and what to compare."""

    evidence: Tensor
    target: Tensor


def lesson_of(seen: View, target: str) -> Lesson:
    """Take from a classifier's view what the student is compared with.

    Args:
        seen: The teacher's.
        target: "cam", "features" or "pcm", as `ConsistencyLoss` has it.

    Raises:
        ValueError: If the teacher has no such thing.
    """
    if target == "pcm":
        if seen.refined is None:
            raise ValueError(
                "target=pcm needs a teacher with a pixel-correlation module: give a stage-1 run "
                "of classifier=resnet50_pcm, or take target=cam"
            )
        # 0 logits of activation are none; the other half of the sigmoid is not used.
        strength = as_logits(2 * seen.refined.sigmoid() - 1)
        return Lesson(strength, strength)
    evidence = class_logits(seen)
    return Lesson(evidence, evidence if target == "cam" else seen.features)


class FrozenTeacher:
    """A trained classifier that only looks.

    Args:
        classifier: Held in eval mode; it gathers no gradients.
        target: What it teaches, as `ConsistencyLoss` has it.
        scales: Sizes at which it reads the frame, > 0; the lessons are averaged on the finest grid.
        flip: Whether it reads the mirrored frame, too.
        precision: As `FitSettings` has it.
        accelerator: As `FitSettings` has it.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        target: str = "cam",
        scales: Sequence[float] = (1.0,),
        flip: bool = False,
        precision: str = "32",
        accelerator: str = "cpu",
    ) -> None:
        """Freeze the classifier and put it where the student trains."""
        check_at_least(1, teacher_scales=len(scales))
        for scale in scales:
            check_positive(teacher_scales=scale)
        device = choose_accelerator(accelerator)
        choose_precision(precision, device)  # refuses here what would be refused at the first look
        self.precision = precision
        frozen = classifier.requires_grad_(False).eval().to(device)
        self.classifier = frozen.to(memory_format=torch.channels_last)
        self.target = target
        self.scales = tuple(sorted(scales, reverse=True))
        self.flip = flip

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Lesson:
        """Give the lesson of (B, 3, H, W) float32 in [0, 1]."""
        lessons = []
        for scale in self.scales:
            scaled = _scaled(images, scale, self.classifier.size_unit)
            for mirrored in (False, True) if self.flip else (False,):
                lesson = self._look(scaled.flip(-1) if mirrored else scaled)
                lessons.append(Lesson(*(m.flip(-1) for m in lesson)) if mirrored else lesson)
        if len(lessons) == 1:
            return lessons[0]
        evidence = as_logits(_mean([lesson.evidence.sigmoid() for lesson in lessons]))
        if self.target != "features":
            return Lesson(evidence, evidence)
        return Lesson(evidence, _mean([lesson.target for lesson in lessons]))

    def _look(self, images: Tensor) -> Lesson:
        with casting(self.precision, images.device):
            seen = view(self.classifier, images)
        lesson = lesson_of(seen, self.target)
        return Lesson(lesson.evidence.float(), lesson.target.float())


class ConsistencyStep:
    """The losses of a step: for `fit`'s `step_loss`.

    With a frozen teacher L = L_cls + the terms of `loss`. Without one the pair's peer learns too:
    each of the two has a classification loss, and follows the other as that one stands, so that
    the consistency counts twice; boundary and background terms are the student's alone.

    Told beside the losses: "map_spread", the standard deviation of the student's probabilities over
    the positions of the frame where it is highest; "feature_spread", see `feature_spread`; and
    "collapsed", 1 where either has been below `floor` for `patience` steps in a row, else 0.

    Args:
        pair: Whose memory and counters are kept.
        loss: The terms.
        classification: Of (B, L) logits and (B,) labels.
        teacher: None for co-training.
        floor: > 0.
        patience: Steps, at least 1.
    """

    def __init__(
        self,
        pair: ConsistentClassifier,
        *,
        loss: ConsistencyLoss,
        classification: Callable[[Tensor, Tensor], Tensor],
        teacher: FrozenTeacher | None,
        floor: float = 1e-3,
        patience: int = 50,
    ) -> None:
        """Check that there is somebody to follow."""
        check_positive(collapse_floor=floor)
        check_at_least(1, collapse_steps=patience)
        if (teacher is None) == (pair.peer is None):
            raise ValueError("a student follows either a frozen teacher or a peer")
        self.pair, self.loss, self.classification = pair, loss, classification
        self.teacher, self.floor, self.patience = teacher, floor, patience

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give the losses of a batch by name; `model` is the pair, however it is wrapped."""
        images, labels = batch["image"], batch["label"]
        seen, peer = model(images)
        terms = {"classification": self.classification(seen.logits, labels)}
        if self.teacher is not None:
            lesson = self.teacher(images)
        else:
            lesson = lesson_of(peer, self.loss.target)
            terms["peer_classification"] = self.classification(peer.logits, labels)
        terms |= self.loss(
            cells=seen.cells,
            features=seen.features,
            projected=seen.projected,
            target=lesson.target,
            evidence=lesson.evidence,
            images=images,
            labels=labels,
            lookalikes=self.pair.recall(),
        )
        if self.teacher is None and self.loss.weight > 0:
            terms["peer_consistency"] = self._return(seen, lesson.target, labels)
        if self.loss.lookalike_weight > 0:
            self.pair.remember(seen.features, seen.cells[-1], labels)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms, **self._signs(seen)}

    def _return(self, seen: View, target: Tensor, labels: Tensor) -> Tensor:
        """Weigh how far the peer is from the student as it stands."""
        own = seen.projected if self.loss.of == "features" else class_logits(seen)
        assert own is not None  # of=features has made a projection
        apart = self.loss.apart(own, target, teacher_learns=True)
        # Where no position answers, the answer to the frame stands for all of them.
        smoke = class_logits(seen)[:, 0] if seen.cells else seen.logits[:, :, None]
        return self.loss.weigh(apart, labels, smoke.sigmoid())

    @torch.no_grad()
    def _signs(self, seen: View) -> dict[str, Tensor]:
        """Measure what shows a collapse, and count the steps it has shown."""
        features = seen.features if seen.projected is None else seen.projected
        signs = {"feature_spread": feature_spread(features)}
        if seen.cells:
            signs = {"map_spread": map_spread(class_logits(seen)).max(), **signs}
        count = self.pair.flat_steps
        for index, value in enumerate(signs.values()):
            count[index] = torch.where(value < self.floor, count[index] + 1, 0)
        return {**signs, "collapsed": (count >= self.patience).any().float()}


def measure(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Measure a pair by (B, 3, H, W) pictures: answers and spreads by name, (B,) or (1,) each."""
    seen, peer = model(images)
    features = seen.features if seen.projected is None else seen.projected
    told = {"auroc": seen.logits.mean(dim=1), "feature_spread": feature_spread(features)[None]}
    if seen.cells:
        logits = class_logits(seen)
        told["map_auroc"] = topk_mean(logits.flatten(1)[:, :, None], share=_PEAK_SHARE)[:, 0]
        told["map_spread"] = map_spread(logits)
    if peer is not None:
        told["peer_auroc"] = peer.logits.mean(dim=1)
    return told


def map_spread(logits: Tensor) -> Tensor:
    """Give the spread of probabilities over positions, (B,), from logits (B, 1, h, w)."""
    return logits.float().sigmoid().flatten(1).std(dim=1, correction=0)


def feature_spread(features: Tensor) -> Tensor:
    """Give how much feature vectors (B, C, h, w) differ over frames and positions: () in [0, 1].

    sqrt(1 - |mean v|^2 / mean |v|^2): 0 where all are the same, 1 where they cancel out; blind to
    their scale.
    """
    vectors = features.float().transpose(0, 1).flatten(1)  # (C, B h w)
    whole = vectors.square().sum(dim=0).mean()
    about = (vectors - vectors.mean(dim=1, keepdim=True)).square().sum(dim=0).mean()
    return (about / whole.clamp(min=_SMALLEST)).sqrt()


def collapse_of(
    figures: Mapping[str, float], *, epoch: int, flat_epochs: Collection[int], floor: float
) -> tuple[str, ...]:
    """Say by what a trained student shows to have collapsed; nothing if it has not.

    Args:
        figures: Of val, by the student that is kept: "auroc" of its answers, and "map_spread",
            "map_auroc", "feature_spread" where they are known.
        epoch: Number of the epoch that is kept.
        flat_epochs: Numbers of the epochs in which the steps told of a collapse. Others than the
            kept one count for nothing: see `flatness_of`.
        floor: Below which a spread is none.
    """
    found = []
    if figures["auroc"] <= CHANCE_AUROC:
        found.append(f"it tells the labels of val no better than chance ({figures['auroc']:.3f})")
    if figures.get("map_auroc", 1.0) <= CHANCE_AUROC:
        by = figures["map_auroc"]
        found.append(f"the peaks of its maps do not go with the labels of val ({by:.3f})")
    if figures.get("map_spread", 1.0) < floor:
        found.append(f"its maps of val are flat (spread {figures['map_spread']:.2g})")
    if figures.get("feature_spread", 1.0) < floor:
        spread = figures["feature_spread"]
        found.append(f"its features are alike everywhere (spread {spread:.2g})")
    if epoch in flat_epochs:
        found.append(f"maps or features were flat for many steps in epoch {epoch}, which is kept")
    return tuple(found)


def flatness_of(*, epoch: int, flat_epochs: Sequence[int]) -> str:
    """Tell of epochs in which maps or features were flat, and that are not kept; "" for none."""
    others = ", ".join(str(other) for other in flat_epochs if other != epoch)
    return f"maps or features were flat for many steps in epoch {others}" if others else ""


def _scaled(images: Tensor, scale: float, unit: int) -> Tensor:
    if scale == 1:
        return images
    size = [max(unit, round(side * scale / unit) * unit) for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def _mean(maps: Sequence[Tensor]) -> Tensor:
    """Average (B, C, ., .) maps on the grid of the first."""
    size = maps[0].shape[-2:]
    resized = [
        m if m.shape[-2:] == size else F.interpolate(m, size=size, mode="bilinear") for m in maps
    ]
    return torch.stack(resized).mean(dim=0)

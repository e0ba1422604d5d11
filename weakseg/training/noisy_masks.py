"""Train on masks that are partly wrong, with a slow copy of the network as a second opinion."""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor, nn

from weakseg.checks import check_at_least, check_in_unit, check_positive
from weakseg.labels import IGNORE
from weakseg.losses.noise import agreement_loss, correct_masks, select_small_loss, smoke_overlap
from weakseg.training.early_learning import has_learnt_early
from weakseg.training.ema import WeightAverage
from weakseg.training.engine import casting

LOOKS: Final = 20
"""How often in a training the overlap with the given masks is looked at."""


class NoisyMasks:
    """Choose what to believe of masks at each step; a `Companion` of a training.

    Only frames whose mask is marked as noisy are trimmed and corrected: what image labels or real
    masks say is left alone.

    Args:
        trim_share: Share of the pixels to leave out, those with the largest loss, apart for each
            class of each frame, in [0, 1); it grows from 0 during the ramp. 0 is off.
        correction_confidence: Once early learning is over, labels give way to what the teacher
            says with this probability, in (0.5, 1]. None is off.
        slope_drop: See `has_learnt_early`, in (0, 1).
        consistency_weight: Of the distance to the teacher where no label is known, >= 0; it grows
            from 0 during the ramp. 0 is off.
        teacher_decay: Momentum of the teacher, the average of the network's weights, in [0, 1].
        ramp_fraction: Share of the steps that the ramp takes, in [0, 1].
        precision: Of the teacher's answers, as in `FitSettings`.

    References:
        `weakseg.losses.noise` names the papers. The teacher reads the mirrored frame and
        its answer is mirrored back, so that to agree with it is no matter of course.
    """

    def __init__(
        self,
        *,
        trim_share: float = 0.0,
        correction_confidence: float | None = None,
        slope_drop: float = 0.9,
        consistency_weight: float = 0.0,
        teacher_decay: float = 0.99,
        ramp_fraction: float = 0.3,
        precision: str = "auto",
    ) -> None:
        check_in_unit(trim_share=trim_share, slope_drop=slope_drop, teacher_decay=teacher_decay)
        check_in_unit(ramp_fraction=ramp_fraction)
        check_positive(slope_drop=slope_drop)
        check_at_least(0, consistency_weight=consistency_weight)
        if trim_share == 1 or slope_drop == 1:
            raise ValueError("trim_share and slope_drop must be below 1")
        if correction_confidence is not None and not 0.5 < correction_confidence <= 1:
            raise ValueError(
                f"correction_confidence must lie in (0.5, 1], got {correction_confidence}"
            )
        self.trim_share = trim_share
        self.correction_confidence = correction_confidence
        self.slope_drop = slope_drop
        self.consistency_weight = consistency_weight
        self.ramp_fraction = ramp_fraction
        self.precision = precision
        self.overlaps: list[float] = []
        self.is_correcting = False
        self._decay = teacher_decay
        self._average: WeightAverage | None = None
        self._counts = torch.zeros(2, dtype=torch.int64)
        self._answer: Tensor | None = None
        self._step, self._steps = 0, 1

    @property
    def needs_teacher(self) -> bool:
        """Whether a second network is kept."""
        return self.consistency_weight > 0 or self.correction_confidence is not None

    @property
    def learns_unlabelled(self) -> bool:
        """Whether frames without any label of their pixels teach something."""
        return self.consistency_weight > 0

    # ---- within a step

    def target(self, logits: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the mask to learn at this step.

        Args:
            logits: (B, K, H, W) of the network; no gradient passes.
            batch: As `SegmentationData` gives it.

        Returns:
            (B, H, W) int64 mask, and shares of its pixels to tell: `trimmed`, `corrected`.
        """
        mask, noisy = batch["mask"], batch["noisy"].bool()
        given, told = mask, {}
        labelled = (mask != IGNORE).sum().clamp(min=1)
        if self.correction_confidence is not None:
            if not self.is_correcting and bool(noisy.any()):
                self._counts = self._counts.to(mask.device)
                self._counts += smoke_overlap(logits[noisy], mask[noisy])
            if self.is_correcting:
                teacher = self._teacher(batch["image"])
                right = correct_masks(mask, teacher, confidence=self.correction_confidence)
                mask = torch.where(noisy[:, None, None], right, mask)
            told["corrected"] = (mask != given).sum() / labelled
        if self.trim_share > 0:
            share = self.trim_share * self._ramp(linear=True)
            before = mask
            fitting = select_small_loss(logits, mask, share=share)
            mask = torch.where(noisy[:, None, None], fitting, mask)
            told["trimmed"] = (mask != before).sum() / labelled
        return mask, told

    def agreement(self, logits: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Give the loss "consistency" with the teacher where no label is known; nothing if off."""
        if self.consistency_weight == 0:
            return {}
        weight = self.consistency_weight * self._ramp(linear=False)
        unknown = batch["mask"] == IGNORE
        return {
            "consistency": weight * agreement_loss(logits, self._teacher(batch["image"]), unknown)
        }

    def _ramp(self, *, linear: bool) -> float:
        """Rise from 0 to 1: linear as co-teaching, or as mean teachers by exp(-5 (1 - x)^2)."""
        length = self.ramp_fraction * self._steps
        done = min(1.0, self._step / length) if length > 0 else 1.0
        return done if linear else math.exp(-5 * (1 - done) ** 2) if done < 1 else 1.0

    @torch.no_grad()
    def _teacher(self, images: Tensor) -> Tensor:
        """Give the teacher's (B, K, H, W) probabilities, once a step."""
        if self._answer is None:
            assert self._average is not None  # `attach` comes before the first step.
            teacher = self._average.module.eval()
            with casting(self.precision, images.device):
                logits = teacher(images.flip(-1))
            self._answer = logits.float().flip(-1).softmax(dim=1)
        return self._answer

    # ---- beside the training

    def attach(self, model: nn.Module) -> None:
        """Meet the network, on its device: the teacher starts as its copy."""
        if self.needs_teacher:
            self._average = WeightAverage(model, decay=self._decay)

    def begin_step(self, step: int, steps: int) -> None:
        """Hear that step number `step` of `steps`, counted from 0, is about to be taken."""
        self._step, self._steps, self._answer = step, steps, None

    def end_step(self, model: nn.Module) -> None:
        """Move the teacher; now and then look how well the given masks are learnt by now."""
        if self._average is not None:
            self._average.update(model)
        if self.correction_confidence is None or self.is_correcting:
            return
        looks_before, looks = (LOOKS * (self._step + i) // self._steps for i in (0, 1))
        if looks > looks_before and self._counts[1] > 0:
            intersection, union = self._counts.tolist()
            self.overlaps.append(intersection / union)
            self._counts.zero_()
            self.is_correcting = has_learnt_early(self.overlaps, slope_drop=self.slope_drop)

    def state_dict(self) -> dict[str, Any]:
        """Give all that must not be forgotten."""
        average = self._average
        return {
            "teacher": None if average is None else average.module.state_dict(),
            "updates": 0 if average is None else average.updates,
            "overlaps": list(self.overlaps),
            "is_correcting": self.is_correcting,
            "counts": self._counts.tolist(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if self._average is not None:
            self._average.module.load_state_dict(state["teacher"])
            self._average.updates = state["updates"]
        self.overlaps = list(state["overlaps"])
        self.is_correcting = state["is_correcting"]
        self._counts = torch.tensor(state["counts"], dtype=torch.int64)

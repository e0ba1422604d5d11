"""Let a student follow a teacher of another architecture, without following its errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive
from weakseg.losses.alignment import check_comparison, compare_maps, on_grid, wide
from weakseg.losses.background import background_activation, lookalike_activation, masked_mean
from weakseg.losses.boundaries import boundary_misfit

OF: Final = ("features", "evidence")
TARGETS: Final = ("cam", "features", "pcm")
FRAMES: Final = ("all", "smoke")

_LEAST: Final = 1e-6


class ConsistencyLoss(nn.Module):
    """Weigh and add what a student is told beside the label: see `forward`.

    Args:
        of: What is compared. "features": the student's patch tokens or feature map, brought to the
            teacher's channels by a learnt 1x1 convolution, with the teacher's `target`.
            "evidence": the student's own answers, position by position and level by level, with
            the teacher's: the map that is exported learns directly, and no projection is needed.
            It takes a student whose positions answer.
        target: What the features are compared with. "cam": the teacher's probability of smoke at
            each position; "pcm": the same after its pixel-correlation module; "features": its
            last feature map. With of=evidence, "cam" or "pcm".
        alignment: See `weakseg.losses.alignment`.
        distance: See there.
        temperature: Of distance=kl, > 0.
        weight: Of the consistency beside the 1 of classification (the paper's lambda), >= 0.
        frames: Which frames follow the teacher: "all", or those labelled "smoke", as what it sees
            in the others is known to be wrong.
        teacher_confidence: Whether a frame's consistency weighs as the highest probability of smoke
            that the one who is followed has there: cosine is blind to a map's scale and kl to its
            offset, and without this they also ask for the noise of maps that show nothing.
        fused: With of=evidence, whether the levels' geometric mean is compared, which is what is
            exported; else each level is.
        boundary_weight: Of `boundary_misfit` in smoke frames, >= 0; it lies in [0, 1].
        boundary_stride: Pixels to a cell in which borders are compared, at least 1.
        boundary_reach: Cells between the two of a pair, at least 1.
        background_weight: Of `background_activation` in smoke-free frames, >= 0.
        background_share: Of their positions that must be silent, the loudest, in (0, 1].
        lookalike_weight: Of `lookalike_activation` in smoke frames, >= 0.
        lookalike_margin: Of the same: cosine from which a position looks like a false alarm, in
            [0, 1].

    References:
        Zhang and Hsu, arXiv 2507.21959: of=features, target=pcm, global cosine, weight 1. The paper
        names a boundary-aware term and spurious-correlation removal; these are ours.
    """

    def __init__(
        self,
        *,
        of: str = "features",
        target: str = "cam",
        alignment: str = "global",
        distance: str = "cosine",
        temperature: float = 1.0,
        weight: float = 1.0,
        frames: str = "all",
        teacher_confidence: bool = False,
        fused: bool = True,
        boundary_weight: float = 0.0,
        boundary_stride: int = 8,
        boundary_reach: int = 2,
        background_weight: float = 0.0,
        background_share: float = 1.0,
        lookalike_weight: float = 0.0,
        lookalike_margin: float = 0.5,
    ) -> None:
        """Check the ranges, and that what is compared has the channels it takes."""
        super().__init__()
        check_one_of(OF, of=of)
        check_one_of(TARGETS, target=target)
        check_one_of(FRAMES, frames=frames)
        if of == "evidence" and target == "features":
            raise ValueError("of=evidence compares answers: take target=cam or pcm with it")
        check_comparison(alignment, distance, channels=None if target == "features" else 1)
        if alignment == "logits" and target == "features":
            raise ValueError("alignment=logits compares answers, and features are none")
        check_positive(temperature=temperature, background_share=background_share)
        check_in_unit(background_share=background_share, lookalike_margin=lookalike_margin)
        check_at_least(0, weight=weight, boundary_weight=boundary_weight)
        check_at_least(0, background_weight=background_weight, lookalike_weight=lookalike_weight)
        check_at_least(1, boundary_stride=boundary_stride, boundary_reach=boundary_reach)
        self.of, self.target, self.frames = of, target, frames
        self.alignment, self.distance, self.temperature = alignment, distance, temperature
        self.weight, self.teacher_confidence, self.fused = weight, teacher_confidence, fused
        self.boundary_weight = boundary_weight
        self.boundary_stride, self.boundary_reach = boundary_stride, boundary_reach
        self.background_weight, self.background_share = background_weight, background_share
        self.lookalike_weight, self.lookalike_margin = lookalike_weight, lookalike_margin

    @property
    def needs_projection(self) -> bool:
        """Whether features are compared, for which a projection must be learnt."""
        return self.of == "features"

    @property
    def needs_cells(self) -> bool:
        """Whether the student's positions must answer for themselves."""
        others = self.boundary_weight + self.background_weight + self.lookalike_weight
        return self.of == "evidence" or others > 0

    def forward(
        self,
        *,
        cells: Sequence[Tensor],
        features: Tensor,
        projected: Tensor | None,
        target: Tensor,
        evidence: Tensor,
        images: Tensor,
        labels: Tensor,
        lookalikes: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Give the weighted terms by name; those of weight 0 are left out, and cost nothing.

        Nothing flows back to the teacher: `target` and `evidence` are detached.

        Args:
            cells: The student's logits of positions, (B, h, w), one map a level.
            features: (B, D, h, w), the student's, from which the last of the cells is made.
            projected: (B, C, h, w), its projection; None with of=evidence.
            target: (B, C, h', w'), the teacher's features, or logits of its positions.
            evidence: (B, 1, h', w'), logits of the teacher's positions.
            images: (B, 3, H, W) in [0, 1].
            labels: (B,) 0 or 1.
            lookalikes: (K, D) features of known false alarms.

        Returns:
            "consistency", "boundary", "background", "lookalike": () each.
        """
        teacher = evidence.detach().sigmoid()[:, 0]
        terms: dict[str, Tensor] = {}
        if self.weight > 0:
            apart = self._apart(cells, projected, target)
            terms["consistency"] = self.weigh(apart, labels, teacher)
        if self.boundary_weight > 0:
            misfits = [self._misfit(cell, images, teacher) for cell in cells]
            misfit = masked_mean(torch.stack(misfits).mean(dim=0), labels == 1)
            terms["boundary"] = self.boundary_weight * misfit
        if self.background_weight > 0:
            loud = background_activation(cells, labels, share=self.background_share)
            terms["background"] = self.background_weight * loud
        if self.lookalike_weight > 0 and lookalikes is not None:
            loud = lookalike_activation(
                cells[-1], features, lookalikes, teacher, labels, margin=self.lookalike_margin
            )
            terms["lookalike"] = self.lookalike_weight * loud
        return terms

    def weigh(self, apart: Tensor, labels: Tensor, followed: Tensor) -> Tensor:
        """Give the weighted mean, (), of how far frames are apart, over those that count.

        Args:
            apart: (B,).
            labels: (B,) 0 or 1.
            followed: (B, h, w) in [0, 1], the probabilities of the one who is followed; no
                gradients reach it.
        """
        if self.teacher_confidence:
            apart = apart * followed.detach().amax(dim=(1, 2)).to(apart)
        counts = labels == 1 if self.frames == "smoke" else torch.ones_like(labels).bool()
        return self.weight * masked_mean(apart, counts)

    def apart(self, student: Tensor, teacher: Tensor, *, teacher_learns: bool = False) -> Tensor:
        """Measure how far maps (B, C, h, w) of student and teacher are from each other: (B,).

        Maps of logits are compared as probabilities, but for kl and alignment=logits. Only one of
        the two gets gradients: the student, or the teacher if `teacher_learns`.
        """
        by_logits = self.distance == "kl" or self.alignment == "logits"
        if self.target != "features" and not by_logits:
            teacher = teacher.sigmoid()
            # A projection is free to give what the teacher's probability is.
            student = student.sigmoid() if self.of == "evidence" else student
        learner, model = (teacher, student) if teacher_learns else (student, teacher)
        return compare_maps(
            learner,
            model.detach(),
            alignment=self.alignment,
            distance=self.distance,
            temperature=self.temperature,
        )

    def _apart(self, cells: Sequence[Tensor], projected: Tensor | None, target: Tensor) -> Tensor:
        if self.of == "features":
            if projected is None:
                raise ValueError("of=features compares a projection of the student's features")
            return self.apart(projected, target)
        if not cells:
            raise ValueError("of=evidence compares the answers of positions: the student has none")
        if self.fused:
            return self.apart(_fused(cells, target.shape[-2:]), target)
        return torch.stack([self.apart(cell[:, None], target) for cell in cells]).mean(dim=0)

    def _misfit(self, cell: Tensor, images: Tensor, teacher: Tensor) -> Tensor:
        return boundary_misfit(
            cell.sigmoid(),
            images,
            teacher,
            stride=self.boundary_stride,
            reach=self.boundary_reach,
        )


def _fused(cells: Sequence[Tensor], size: tuple[int, ...]) -> Tensor:
    """Give the logits, (B, 1, *size), of the geometric mean of the levels' probabilities."""
    levels = torch.stack([on_grid(wide(cell)[:, None], size) for cell in cells])
    log_p = F.logsigmoid(levels).mean(dim=0)
    # log(p / (1 - p)), from log p: p may be so near 1 that 1 - p has no digits left.
    return log_p - torch.log(-torch.expm1(log_p.clamp(max=-_LEAST)))

"""Let the Segment Anything Model draw the plume's borders, where it agrees with the evidence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive
from weakseg.errors import WeightsError
from weakseg.labels import SMOKE
from weakseg.models.devices import find_device
from weakseg.models.sam import KINDS, load_sam, segment_anything_module
from weakseg.models.weights import sha256_of_weights
from weakseg.refine.acceptance import (
    COMBINATIONS,
    RULES,
    accepts,
    closest,
    combine_scores,
    kept_by_floor,
)
from weakseg.refine.embeddings import Embedding, cached_embedding, embedding_path
from weakseg.refine.prompts import (
    BoolMap,
    Coordinates,
    box_of,
    grid_within,
    peaks_of,
    points_on,
    regions_of,
)
from weakseg.refine.sam_masks import cached_masks, masks_at, show
from weakseg.refine.step import FrameContext, check_scores, scores_of_smoke

log = logging.getLogger(__name__)

PROMPTS: Final = ("boxes", "points", "both", "automatic", "everything")

_POINTS, _PADDING = 3, -1  # Points a region is asked with; SAM's label of "no point".
_NOT_SETTINGS: Final = {"checkpoint", "device", "points_per_batch"}


@dataclass(frozen=True)
class SamStep:
    """Ask SAM what the evidence lies on, and follow its borders where the two agree.

    SAM draws exact borders but does not know smoke: on diffuse plumes it tends to fill the box it
    is asked with, up to the next true border such as the horizon. So its masks count only under an
    acceptance rule, a frame where none is accepted keeps its scores, and by default SAM cuts off
    what spills over borders but adds nothing.

    Args:
        kind: "vit_t" (MobileSAM), "vit_b", "vit_l" or "vit_h".
        checkpoint: File of weights that fit the kind, read at first use.
        prompts: "boxes" asks once a region with its box; "points" with its highest pixels; "both"
            with both; "automatic" asks at every point of a grid that falls on the evidence, which
            takes some ten times as long; "everything" at all points of the grid, whatever the
            evidence: slower still, but its masks are kept and serve every later recipe.
        seed_threshold: Smoke score in (0, 1] from which a pixel belongs to a region.
        max_regions: Only the largest regions are asked about, at least 1.
        points_per_side: Of the grid over the whole frame, at least 1.
        points_per_batch: Most points SAM answers at once, at least 1: fewer on large frames.
        min_quality: Automatic masks that SAM itself rates lower are dropped, in [0, 1].
        min_stability: Automatic masks less stable than this are dropped, in [0, 1].
        max_area: Masks above this share of the frame are dropped, in (0, 1].
        acceptance: "iou", "sepl" or "none", see `weakseg.refine.acceptance.accepts`.
        acceptance_threshold: IoU that the rule "iou" asks for, in [0, 1].
        combine: "union" (SAM adds), "trim" (it cuts off) or "blend" (both), see `combine_scores`.
        weight: How far a mask moves a score, in [0, 1].
        floor: Evidence from which a pixel can lose nothing to SAM, in [0, 1].
        device: Where SAM runs: "auto" (a GPU when there is one), "cpu", "gpu" or as torch names it.

    References:
        Kirillov et al., "Segment Anything", ICCV 2023. The automatic masks, their acceptance and
        the union with the CAM follow Zhang and Hsu, arXiv 2507.21959.
    """

    kind: str = "vit_t"
    checkpoint: str | None = None
    prompts: str = "boxes"
    seed_threshold: float = 0.3
    max_regions: int = 8
    points_per_side: int = 16
    points_per_batch: int = 64
    min_quality: float = 0.7
    min_stability: float = 0.8
    max_area: float = 0.5
    acceptance: str = "iou"
    acceptance_threshold: float = 0.4
    combine: str = "trim"
    weight: float = 0.5
    floor: float = 0.7
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings out of range; the file is looked for at first use."""
        check_one_of(KINDS, kind=self.kind)
        check_one_of(PROMPTS, prompts=self.prompts)
        check_one_of(RULES, acceptance=self.acceptance)
        check_one_of(COMBINATIONS, combine=self.combine)
        shares = ("min_quality", "min_stability", "acceptance_threshold", "weight", "floor")
        check_in_unit(**{name: getattr(self, name) for name in shares})
        above_zero = {"seed_threshold": self.seed_threshold, "max_area": self.max_area}
        check_positive(**above_zero)
        check_in_unit(**above_zero)
        check_at_least(
            1,
            max_regions=self.max_regions,
            points_per_side=self.points_per_side,
            points_per_batch=self.points_per_batch,
        )

    @property
    def name(self) -> str:
        """The name the step goes by in messages and reports."""
        return "sam"

    @cached_property
    def weights_sha256(self) -> str:
        """Hash of the weights' file.

        Raises:
            WeightsError: If no checkpoint is set, or there is no such file.
        """
        if not self.checkpoint:
            raise WeightsError(
                "SAM needs a file of weights that fit its kind: set its checkpoint "
                "(`sam_checkpoint=FILE` on the command line)"
            )
        if not Path(self.checkpoint).is_file():
            raise WeightsError(f"there is no weights file {self.checkpoint}: correct the path")
        return sha256_of_weights(self.checkpoint)

    def settings(self) -> dict[str, Any]:
        """Return what changes the output, ready for JSON."""
        kept = {key: value for key, value in asdict(self).items() if key not in _NOT_SETTINGS}
        return kept | {"weights_sha256": self.weights_sha256}

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        """Refine `scores` by SAM's masks of `frame`.

        Args:
            frame: (H, W, 3) uint8, RGB.
            scores: (2, H, W) float32 in [0, 1], summing to 1.
            context: Gives the evidence that peaks and floor look at, and the cache.

        Returns:
            (2, H, W) float32 in [0, 1], summing to 1. Without a pixel at the seed threshold, or an
            accepted mask, the scores come back as they are.
        """
        check_scores(scores, height=frame.shape[0], width=frame.shape[1], source="the step before")
        smoke: ScoreMap = scores[SMOKE]
        regions = regions_of(smoke >= self.seed_threshold, limit=self.max_regions)
        if not regions:
            return scores
        candidates = self.candidates(frame, smoke * context.evidence, regions, context)
        accepted = [mask for mask in candidates if self._accepts(mask, regions)]
        log.debug("%s: %d of %d masks", context.frame_id, len(accepted), len(candidates))
        if not accepted:
            return scores
        combined = combine_scores(
            smoke,
            accepted,
            regions,
            evidence=context.evidence,
            combine=self.combine,
            weight=self.weight,
            floor=self.floor,
        )
        kept = kept_by_floor(
            smoke,
            accepted,
            regions,
            evidence=context.evidence,
            combine=self.combine,
            floor=self.floor,
        )
        log.debug("%s: %d pixels are kept by the floor alone", context.frame_id, kept.sum())
        sure = int(np.count_nonzero(context.evidence >= self.floor))
        context.notes[f"{self.name}/kept_by_floor"] = int(np.count_nonzero(kept)) / max(1, sure)
        return scores_of_smoke(combined)

    def candidates(
        self, frame: FrameArray, height: ScoreMap, regions: Sequence[BoolMap], context: FrameContext
    ) -> list[BoolMap]:
        """Return SAM's masks (H, W) before any acceptance; `height` is what peaks are found in."""
        if self.prompts == "everything":
            return self.frame_masks(frame, context)
        if self.prompts == "automatic":
            return self._masks_at(
                points_on(regions, height, points_per_side=self.points_per_side, peaks=_POINTS),
                frame,
                context,
            )
        predictor = segment_anything_module().SamPredictor(self._model)
        show(predictor, frame, self._embedding(frame, context))
        return self._asked(predictor, frame, height, regions)

    def frame_masks(self, frame: FrameArray, context: FrameContext) -> list[BoolMap]:
        """Return SAM's masks (H, W) of the whole frame, whatever the evidence.

        They are kept in the cache beside the embedding: a frame that was seen with the same
        weights, grid and quality costs no network at all.
        """
        whole = np.ones(frame.shape[:2], np.bool_)
        path = None
        if context.cache_dir is not None:
            path = embedding_path(
                context.cache_dir,
                frame,
                weights_sha256=self.weights_sha256,
                kind="sam_masks",
                settings=f"{self.points_per_side} {self.min_quality} {self.min_stability}",
                suffix=".npz",
            )
        points = grid_within(whole, points_per_side=self.points_per_side)
        return cached_masks(path, lambda: self._masks_at(points, frame, context))

    @cached_property
    def _model(self) -> Any:
        log.debug("reading SAM %s from %s", self.kind, self.checkpoint)
        # The hash first: it says in words when there is no file.
        assert self.weights_sha256
        return (
            load_sam(self.kind, self.checkpoint).to(find_device(self.device)).requires_grad_(False)
        )

    def _accepts(self, mask: BoolMap, regions: Sequence[BoolMap]) -> bool:
        return accepts(
            mask,
            regions,
            rule=self.acceptance,
            threshold=self.acceptance_threshold,
            max_area=self.max_area,
        )

    def _embedding(self, frame: FrameArray, context: FrameContext) -> Embedding:
        def compute() -> Embedding:
            predictor = segment_anything_module().SamPredictor(self._model)
            predictor.set_image(frame)
            features = predictor.get_image_embedding()
            return np.asarray(features.cpu().numpy().astype(np.float16))

        cache = context.cache_dir
        sha = self.weights_sha256
        return cached_embedding(
            embedding_path(cache, frame, weights_sha256=sha) if cache is not None else None,
            compute,
        )

    def _masks_at(
        self, points: Coordinates, frame: FrameArray, context: FrameContext
    ) -> list[BoolMap]:
        return masks_at(
            self._model,
            frame,
            self._embedding(frame, context),
            points,
            points_per_batch=self.points_per_batch,
            min_quality=self.min_quality,
            min_stability=self.min_stability,
        )

    def _asked(
        self, predictor: Any, frame: FrameArray, height: ScoreMap, regions: Sequence[BoolMap]
    ) -> list[BoolMap]:
        """Ask about every region at once; points leave SAM a choice of three masks each."""
        size, device = frame.shape[:2], predictor.device
        boxes = points = labels = None
        if self.prompts in ("boxes", "both"):
            corners = torch.from_numpy(np.stack([box_of(region) for region in regions]))
            boxes = predictor.transform.apply_boxes_torch(corners, size).to(device)
        if self.prompts in ("points", "both"):
            coordinates, labels = _padded([peaks_of(height, r, limit=_POINTS) for r in regions])
            points = predictor.transform.apply_coords_torch(coordinates, size).to(device)
            labels = labels.to(device)
        masks, _, _ = predictor.predict_torch(points, labels, boxes, multimask_output=boxes is None)
        answers = masks.cpu().numpy().astype(bool)  # (regions, 1 or 3, H, W)
        return [closest(answer, region) for answer, region in zip(answers, regions, strict=True)]


def _padded(points: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack (N, 2) points of several regions: (R, 3, 2) coordinates, (R, 3) labels."""
    coordinates = torch.zeros(len(points), _POINTS, 2)
    labels = torch.full((len(points), _POINTS), _PADDING, dtype=torch.int)
    for i, found in enumerate(points):
        coordinates[i, : len(found)] = torch.from_numpy(found)
        labels[i, : len(found)] = 1
    return coordinates, labels

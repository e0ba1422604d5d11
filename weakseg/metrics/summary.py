"""Merge the frames' figures into those of a data set, with intervals over scenes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weakseg.metrics.alarms import MIN_AREA
from weakseg.metrics.bootstrap import SceneDraws
from weakseg.metrics.frames import FrameFigures
from weakseg.metrics.image import RankedAnswers
from weakseg.metrics.pooling import frame_sums, pooled_figures

Numbers = npt.NDArray[np.float64]

TEMPORAL = ("temporal_iou", "temporal_iou_truth", "flicker", "alarm_switches")
"""Told only of frames that come in sequences."""


def summarise(
    frames: Sequence[FrameFigures],
    *,
    min_area: float = MIN_AREA,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """Merge the frames' figures.

    Pooled over all pixels: `iou_pooled`, `miou`, `precision`, `recall`, `f1`, `f_beta`
    (beta^2 = 0.3). Means over the frames with smoke: `iou_per_image`, `boundary_iou`. Over the
    smoke-free frames: `false_alarm_share`, `false_area_mean`, and `empty_on_empty`, the share of
    them in which nothing is found, as is right. `mae` is a mean over all frames.

    Image-level figures (`auroc`, `average_precision`, `fpr_at_tpr95`, `ece`) are there if every
    frame has a probability. Where frames come in sequences there are means over all pairs of
    consecutive frames: `temporal_iou`, of the found smoke of both, beside `temporal_iou_truth`, of
    the true smoke; `flicker`, how far the change of the found share is from that of the true one;
    `alarm_switches`, how often an alarm comes or goes though smoke does not.

    What cannot be known is NaN.

    Args:
        frames: At least one.
        min_area: Share of a frame beyond which something found is an alarm, in [0, 1].
        draws: Data sets drawn for the intervals `*_low` and `*_high`; 0 leaves them out.
        level: Share of the draws within an interval, in [0, 1].
        seed: Of the draws.

    Raises:
        ValueError: If there are no frames.
    """
    if not frames:
        raise ValueError("there are no frames to summarise")
    sums = frame_sums(frames, min_area=min_area)
    figures: dict[str, float] = {
        name: float(value[0]) for name, value in pooled_figures(_total(sums)).items()
    }
    figures |= {
        "frames": len(frames),
        "smoke_frames": sum(frame.has_smoke for frame in frames),
        "smoke_free_frames": sum(frame.is_smoke_free for frame in frames),
        "scenes": len({frame.scene for frame in frames}),
    }
    answers = ranked_answers(frames)
    if answers is not None:
        figures |= answers.figures()
    if not any(frame.change for frame in frames):
        figures = {name: value for name, value in figures.items() if name not in TEMPORAL}
    if draws:
        drawn = SceneDraws([frame.scene for frame in frames], draws=draws, seed=seed)
        for name, values in drawn_figures(drawn, sums, answers).items():
            if name in figures:
                low, high = drawn.interval(values, level=level)
                figures[f"{name}_low"], figures[f"{name}_high"] = low, high
    return figures


def ranked_answers(frames: Sequence[FrameFigures]) -> RankedAnswers | None:
    """Return the frames' labels and probabilities; None if a probability is not known."""
    beliefs = [frame.probability for frame in frames]
    if not all(math.isfinite(belief) for belief in beliefs):
        return None
    return RankedAnswers([frame.label for frame in frames], beliefs)


def drawn_figures(
    drawn: SceneDraws, sums: Numbers, answers: RankedAnswers | None
) -> dict[str, Numbers]:
    """Return every figure of every data set that was drawn.

    Args:
        drawn: D data sets of N frames.
        sums: (N, F) of `frame_sums`.
        answers: Of the same frames; None leaves the image-level figures out.

    Returns:
        Name -> (D,).
    """
    figures = pooled_figures(drawn.sums(sums))
    if answers is not None:
        each = [answers.figures(drawn.weights(draw)) for draw in range(len(drawn))]
        figures |= {name: np.array([one[name] for one in each]) for name in each[0]}
    return figures


def _total(sums: Numbers) -> Numbers:
    """Return the sums over all frames, (1, F), whatever the order they came in."""
    return np.array([[math.fsum(column) for column in sums.T]])

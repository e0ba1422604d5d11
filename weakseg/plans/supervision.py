"""Say who teaches a segmenter where smoke is, and how far the teacher is believed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SupervisionPlan:
    """Whose masks stage 3 learns from. Image labels always teach: a smoke-free frame is empty.

    What follows `seed` is for masks that are partly wrong; all of it is off by default, and none
    of it touches real masks or smoke-free frames.

    Args:
        mode: `weak` learns pseudo-masks, `full` real masks, `mixed` real ones where they are
            drawn and pseudo-masks elsewhere.
        fraction: Share in (0, 1] of the training frames labelled smoke whose real masks are read,
            in whole sequences: the next frame of a video is no new knowledge. A smaller share lies
            within a larger one. Not for `weak`. With `full` the other smoke frames do not teach.
        masks: Folder of real masks, `ID.png` or named as their frames; None takes the masks that
            the frames' own source leads to, such as the column mask_path of an index.
        seed: Names the draw of the fraction.
        confidence_floor: Weight of a pixel whose score is at the threshold, in [0, 1]; pixels far
            from it weigh 1. At 1 all pixels weigh alike.
        edge_band_pixels: Pixels of the frame as near to the edge of a pseudo-mask are ignored.
        uncertain_band: Width, in [0, 1], of the band of scores about the threshold whose pixels
            are ignored, beside what stage 2 ignores.
        trim_share: Share of the pixels, in [0, 1), that are left out because they fit what the
            network sees the least.
        correction_confidence: Probability, in (0.5, 1], from which the teacher's answer takes the
            place of the label, once early learning is over; None never does.
        slope_drop: Share, in (0, 1), by which the overlap with the given masks must slow down
            until early learning counts as over.
        consistency_weight: Of agreement with the teacher where no label is known; above 0, smoke
            frames without any mask come along.
        teacher_decay: Momentum, in [0, 1], of the teacher: the network's averaged weights.
        ramp_fraction: Share of the steps in which trimming and agreement come up to their full.
    """

    mode: str = "weak"
    fraction: float = 1.0
    masks: str | None = None
    seed: int = 0
    confidence_floor: float = 1.0
    edge_band_pixels: float = 0.0
    uncertain_band: float = 0.0
    trim_share: float = 0.0
    correction_confidence: float | None = None
    slope_drop: float = 0.9
    consistency_weight: float = 0.0
    teacher_decay: float = 0.99
    ramp_fraction: float = 0.3

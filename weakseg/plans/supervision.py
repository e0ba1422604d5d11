"""Say who teaches a segmenter where smoke is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SupervisionPlan:
    """Whose masks stage 3 learns from. Image labels always teach: a smoke-free frame is empty.

    Args:
        mode: `weak` learns pseudo-masks, `full` real masks, `mixed` real ones where they are
            drawn and pseudo-masks elsewhere.
        fraction: Share in (0, 1] of the training frames labelled smoke whose real masks are read,
            in whole sequences: the next frame of a video is no new knowledge. A smaller share lies
            within a larger one. Not for `weak`. With `full` the other smoke frames do not teach.
        masks: Folder of real masks, `ID.png` or named as their frames; None takes the masks that
            the frames' own source leads to, such as the column mask_path of an index.
        seed: Names the draw of the fraction.
    """

    mode: str = "weak"
    fraction: float = 1.0
    masks: str | None = None
    seed: int = 0

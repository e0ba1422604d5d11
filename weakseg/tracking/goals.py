"""Know of figures by their names whether more or less of them is better."""

from __future__ import annotations

import re
from typing import Final

MORE: Final = "max"
LESS: Final = "min"

_MORE: Final = re.compile(
    r"(.*_)?(auroc|iou|miou|precision|recall|f1|f_beta|selection|agreement)(_per_image|_pooled)?"
    r"|(.*_)?ap\d*|average_precision|smoke_frames_with_mask|empty_on_empty"
)
_LESS: Final = re.compile(
    r"(.*_)?(loss|cross_entropy|ece|mae|brier)"
    r"|false_(alarm|area).*|fpr_at_tpr\d+|smoke_free_(frames_with_mask|mean_share)"
    r"|oracle_gap_.*|flicker|alarm_switches|seconds_per_frame"
)


def goal_of(figure: str) -> str | None:
    """Say where a figure should go.

    Args:
        figure: Its name; what stands before a slash says whose it is: `test/iou_per_image`.

    Returns:
        `MORE`, `LESS`, or None where neither is better: a threshold, a count, an interval's end.
    """
    parts = figure.split("/")
    # `seconds_per_frame/crf` is named by what comes before the slash.
    name = parts[0] if parts[0] == "seconds_per_frame" else parts[-1]
    if _MORE.fullmatch(name):
        return MORE
    if _LESS.fullmatch(name):
        return LESS
    return None

"""Say in a model card where a segmenter fails, in sentences that follow from its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.pages.common import percent
from weakseg.stages.pages.words import counted, told_frames

Row = Mapping[str, float | str]

_FEW_SCENES: Final = 30
_FEW_FRAMES: Final = 20
_WORST_SCENES: Final = 3

NOT_MEASURED: Final = (
    "How good its masks are is unknown: the test split has no masks, so nothing was measured "
    "against the truth.",
    "Where it fails, by size, opacity, scene and camera, is unknown for the same reason.",
)


def limits(test: Evaluation | None, summary: Mapping[str, Any]) -> list[str]:
    """List what the figures say about where not to rely on the model.

    Args:
        test: What was measured on the test split; None without masks of it.
        summary: Of the run.
    """
    lines = list(NOT_MEASURED) if test is None else _measured(test)
    if summary["supervision"] != "full":
        lines.append(
            "It learnt masks that a classifier and its refinement made, and may repeat whatever "
            "these got wrong again and again, such as loose outlines, or what often stands beside "
            "smoke."
        )
    if summary["selection"] == "val":
        lines.append(
            "Masks of val chose the threshold or the epoch: figures on val are better than the "
            "truth; those on test are not touched by it."
        )
    lines += [
        "One training with one seed: another seed gives other figures, and how far they are apart "
        "was not measured in this run.",
        "Frames are judged one at a time: a movement, or the frames before, play no part.",
        "What is shown to it is not checked: snow, dust, fog, steam, low cloud and sun glare may "
        "be called smoke, as far as the smoke-free frames here did not show them.",
    ]
    return lines


def _measured(test: Evaluation) -> list[str]:
    figures = test.figures
    return [
        *_evidence(figures),
        *_small(test.strata),
        *_faint(test.by_opacity),
        *_missed(test),
        *_false_alarms(figures),
        *_scenes(test.by_scene),
        *_calibration(figures),
        "The truth it was measured by is masks that people drew or programs made; how exact those "
        "are is not known here.",
    ]


def _evidence(figures: Mapping[str, float]) -> list[str]:
    line = f"Measured on {told_frames(figures)}: of one data set, for which alone they speak."
    if figures.get("scenes", 0) < _FEW_SCENES:
        line += " Frames of a scene are near copies, so with so few scenes the intervals are wide."
    return [line]


def _small(strata: Sequence[Row]) -> list[str]:
    """Compare the small plumes with all others."""
    if not strata:
        return []
    small = strata[0]
    if not small["frames"]:
        return [
            "Small smoke: no measured frame has smoke on less than 0.5 % of it, so nothing is "
            "known of small or far plumes."
        ]
    return [
        f"Small smoke (less than 0.5 % of the frame): IoU per image {_shown(small)} on "
        f"{_frames(small)}; in {percent(small['missed_share'])} of them no pixel of it was found."
        f"{_if_few(small)}"
    ]


def _faint(by_opacity: Sequence[Row]) -> list[str]:
    """Compare the faintest smoke that was measured with the most opaque."""
    known = {str(row["stratum"]): row for row in by_opacity if row["frames"]}
    if not known:
        return ["Faint smoke: how much the smoke stands out was not measured."]
    if "faint" not in known:
        return ["Faint smoke: no measured frame shows smoke that hardly stands out."]
    faint = known["faint"]
    beside = f", against {_shown(known['dense'])} for dense smoke" if "dense" in known else ""
    return [
        f"Faint smoke, which hardly stands out: IoU per image {_shown(faint)} on {_frames(faint)}"
        f"{beside}.{_if_few(faint)}"
    ]


def _missed(test: Evaluation) -> list[str]:
    smoky = [one for one in test.frames if one.has_smoke]
    missed = sum(one.counts.tp == 0 for one in smoky)
    if not smoky:
        return ["No measured frame shows smoke: whether it finds any is unknown."]
    return [
        f"No pixel of the smoke was found in {missed} of {counted(len(smoky), 'frame')} with smoke."
    ]


def _false_alarms(figures: Mapping[str, float]) -> list[str]:
    count = int(figures.get("smoke_free_frames", 0))
    if not count:
        return [
            "False alarms: no measured frame is smoke-free, so how often it errs there is unknown."
        ]
    share = figures["false_alarm_share"]
    known = counted(count, "smoke-free frame")
    line = f"False alarms: {round(share * count)} of {known}, {percent(share)}."
    if share == 0:
        bound = min(1.0, 3 / count)
        line += (
            f" None is not never: by the rule of three up to {percent(bound)} would still be "
            "likely, and more, as frames of a scene are near copies."
        )
    return [line]


def _scenes(by_scene: Sequence[Row]) -> list[str]:
    known = [row for row in by_scene if math.isfinite(float(row["iou_per_image"]))]
    if len(known) < 2:
        return [
            "Scenes: smoke was measured in fewer than two, so nothing is known of their spread."
        ]
    ordered = sorted(known, key=lambda row: float(row["iou_per_image"]))
    worst = ", ".join(f"{row['scene']} {_shown(row)}" for row in ordered[:_WORST_SCENES])
    return [
        f"Scenes differ: IoU per image goes from {_shown(ordered[0])} to {_shown(ordered[-1])} "
        f"over {len(known)} scenes with smoke. Worst: {worst}."
    ]


def _calibration(figures: Mapping[str, float]) -> list[str]:
    error = figures.get("ece", math.nan)
    if not math.isfinite(error):
        return []
    return [
        f"Scores are not exact probabilities: those of frames are off by {error:.3f} on the mean "
        "(expected calibration error)."
    ]


def _shown(row: Row) -> str:
    return f"{float(row['iou_per_image']):.2f}"


def _frames(row: Row) -> str:
    return counted(int(float(row["frames"])), "frame")


def _if_few(row: Row) -> str:
    return " That is little to go by." if float(row["frames"]) < _FEW_FRAMES else ""

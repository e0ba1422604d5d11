"""Say in sentences how a stage-3 run was made: its page and its model card use the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from weakseg.artifacts import FinishedRun, RunFolder, read_json
from weakseg.refine import ThresholdChoice
from weakseg.stages.scores import THRESHOLD

UNKNOWN: Final = "unknown: it was not recorded"

_EPOCHS: Final = {
    "last": "The last epoch was kept",
    "labels": "The epoch was chosen by image labels of val, without masks",
    "labels_and_pseudo_masks": "The epoch was chosen by image labels and pseudo-masks of val, "
    "without masks",
    "val_masks": "The epoch was chosen by the masks of val",
    "trained": "The segmenter was trained before",
}
_RULES: Final = {
    "fixed": "a number given beforehand; no score was looked at",
    "false_alarm": "the lowest cut at which few enough smoke-free frames of val would show smoke",
    "otsu": "where the scores of val's smoke frames divide best into two classes",
    "mixture": "where a mixture of two components divides the scores of val's smoke frames",
    "size": "where the smoke of val's smoke frames is as large as smoke was said to be",
    "highest": "the most careful of several rules",
    "val_masks": "the cut with the best IoU on the masks of val",
}


def told_supervision(summary: Mapping[str, Any]) -> str:
    """Say whose masks were learnt."""
    mode = str(summary["supervision"])
    if mode == "weak":
        return "Weak supervision: learnt from pseudo-masks and image labels; no real mask taught."
    frames, share = summary["supervision/frames_with_mask"], summary["supervision/share_with_mask"]
    sequences = summary["supervision/sequences_with_mask"]
    real = f"the real masks of {frames} frames ({100 * share:.1f} %, {sequences} sequences)"
    if mode == "full":
        return f"Full supervision: learnt from {real} and from image labels of smoke-free frames."
    pseudo = summary["supervision/frames_with_pseudo_mask"]
    return f"Mixed supervision: learnt from {real}, pseudo-masks of {pseudo}, and image labels."


def told_selection(summary: Mapping[str, Any], kept: tuple[int, int] | None) -> str:
    """Say how the epoch was chosen, and by what the threshold, if by masks.

    Args:
        summary: Of the run.
        kept: The epoch that was kept, and how many there were; None if the log does not say.
    """
    which = f" (epoch {kept[0]} of {kept[1]})" if kept is not None else ""
    by_masks = summary["selection"] == "val"
    threshold = "; the threshold was chosen by the masks of val" if by_masks else ""
    return f"{_EPOCHS[str(summary['epoch_by'])]}{which}{threshold}."


def told_threshold(choice: ThresholdChoice) -> str:
    """Say where scores are cut, and why there."""
    name, _, winner = choice.rule.partition(":")
    meaning = _RULES.get(name, "a rule of its own")
    asked = f", here {winner}" if winner else ""
    settings = ", ".join(
        f"{key.replace('_', ' ')} {_said(value)}"
        for key, value in choice.detail.items()
        if isinstance(value, int | float | str)
    )
    seen = f" ({settings})" if settings else ""
    return (
        f"Smoke is where the score reaches {choice.threshold:.3f}, by the rule {choice.rule}: "
        f"{meaning}{asked}{seen}."
    )


def told_frames(figures: Mapping[str, float]) -> str:
    """Say what was measured: frames with smoke and without, and scenes."""
    smoke, clear, scenes = (
        int(figures.get(key, 0)) for key in ("smoke_frames", "smoke_free_frames", "scenes")
    )
    return (
        f"{counted(smoke, 'frame')} with smoke and {clear} without, of {counted(scenes, 'scene')}"
    )


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: 1 frame, 2 frames."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def kept_epoch(
    rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> tuple[int, int] | None:
    """Give the epoch that was kept, and how many were trained; None where no log tells.

    Args:
        rows: Of the run's metrics log.
        summary: Of the run, with `epoch_by`.
    """
    ended = [row for row in rows if "train/loss" in row]
    if not ended or summary["epoch_by"] == "trained":
        return None
    last = int(ended[-1]["epoch"])
    if summary["epoch_by"] == "last":
        return last, last
    judged = [row for row in ended if isinstance(row.get("val/selection"), int | float)]
    if not judged:
        return None
    # As in the training: the first of equal epochs wins.
    best = max(judged, key=lambda row: float(row["val/selection"]))
    return int(best["epoch"]), last


def network_of(config: Mapping[str, Any]) -> str:
    """Name the network that a resolved configuration of stage 3 asks for."""
    segmenter = config["segmenter"]
    return str(segmenter.get("architecture") or segmenter["_target_"].rpartition(".")[2])


def choice_of(run: RunFolder | FinishedRun) -> ThresholdChoice:
    """Read the choice of a run's threshold."""
    return ThresholdChoice.from_dict(read_json(run.path / THRESHOLD))


def _said(value: float | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)

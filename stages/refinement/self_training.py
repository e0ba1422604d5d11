"""Rounds of self-training: a segmenter learns the pseudo-masks, and makes the next ones.

Round 0 is the refined evidence. In every round a new segmenter, always from the same weights,
learns the masks of the round before on the training split, by the labels that citizens gave. Then
it looks at every frame; what it sees, gated by the classifier's probability, is cut into the
round's masks. `StopRule` ends this without masks, and the last round that it accepts becomes the
run's own. `rounds/R/` keeps what round R made, and `rounds/rounds.json` every decision.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import FinishedRun, read_json, write_bytes, write_json
from weakseg.checks import check_at_least, check_in_unit
from weakseg.data import Frame
from weakseg.plans import SelfTrainingPlan, Stage2Plan
from weakseg.refine import ThresholdChoice
from weakseg.refine.agreement import RoundFigures, StopRule, Verdict
from weakseg.stages.refinement.rounds import ROUNDS, Material, figures_of, make_round
from weakseg.stages.scores import THRESHOLD, mask_path, score_path
from weakseg.stages.segmenters import new_segmenter
from weakseg.stages.work import Work
from weakseg.training import track

log = logging.getLogger(__name__)

DECISIONS: Final = "rounds.json"

Told = Sequence[tuple[RoundFigures, Verdict]]
"""What was found of the rounds so far, round 0 first, and what became of them."""


def starting_weights(plan: Stage2Plan, start: FinishedRun) -> dict[str, str]:
    """Give the hash of the weights the segmenters start from; nothing without rounds.

    Raises:
        ValueError: If a setting of the rounds is out of range.
    """
    check_at_least(0, rounds=plan.rounds)
    if plan.rounds == 0:
        return {}
    stop_rule(plan.self_training)
    segmenter = new_segmenter(plan.self_training, start)
    return {"weights of the self-training segmenter": segmenter.weights_sha256 or "none"}


def stop_rule(plan: SelfTrainingPlan) -> StopRule:
    """Build the rule that ends the rounds, and check the settings beside it."""
    try:
        check_in_unit(confidence_floor=plan.confidence_floor, blend=plan.blend)
        if plan.blend == 1:
            raise ValueError("blend must be below 1, or no round would change anything")
        return StopRule(
            converged=plan.converged,
            false_alarm_target=plan.false_alarm_target,
            tolerance=plan.tolerance,
            max_growth=plan.max_growth,
            least_auroc=plan.least_auroc,
        )
    except ValueError as error:
        raise ValueError(f"self_training.{error}") from error


def train_rounds(
    plan: Stage2Plan,
    frames: Sequence[Frame],
    choice: ThresholdChoice,
    work: Work,
    *,
    probability: Mapping[str, float],
    start: FinishedRun,
) -> tuple[ThresholdChoice, dict[str, Any]]:
    """Train the rounds that `plan` asks for, and put the best that was accepted in place.

    The run's own scores, masks and threshold are taken as round 0. Interrupted anywhere, the same
    call goes on there: every file of a round is whole or missing, and round 0 is kept aside before
    the run's own files change.

    Args:
        plan: `rounds` is at least 1.
        frames: Those with scores and masks in the run, of all splits.
        choice: Where the run's masks were cut.
        work: The stage at work.
        probability: Of smoke in [0, 1], by the ids of the frames: gates the scores.
        start: The stage-1 run whose network the segmenters start from, where it fits.

    Returns:
        The choice that belongs to the run's masks from now on, and figures for the summary.

    Raises:
        DataError: If no training frame labelled smoke has a mask to learn from.
        Interrupted: If somebody asked to stop; what is finished is on disk.
    """
    rule = stop_rule(plan.self_training)
    material = Material(plan, frames, probability, start, work)
    _keep_start(material, choice)
    first = Verdict(is_accepted=True, is_last=False, reason="the refined evidence")
    told = [(figures_of(material, 0), first)]
    while not told[-1][1].is_last and len(told) <= plan.rounds:
        figures = make_round(material, len(told))
        verdict = rule.judge([each for each, _ in told], figures)
        told.append((figures, verdict))
        _write_decisions(material, told)
        _tell(plan, told)
    return _settle(material, told)


def _keep_start(material: Material, choice: ThresholdChoice) -> None:
    """Keep the run's own products as round 0, before a later round takes their place."""
    run, start = material.work.run, material.folder(0)
    for frame in track(material.frames, what="keep round 0", unit="frames"):
        for path_of in (score_path, mask_path):
            if not path_of(start, frame.id).exists():
                write_bytes(path_of(start, frame.id), path_of(run, frame.id).read_bytes())
    if not (start.path / THRESHOLD).exists():
        write_json(start.path / THRESHOLD, choice.to_dict())


def _accepted(told: Told) -> int:
    return max(number for number, (_, verdict) in enumerate(told) if verdict.is_accepted)


def _stopped(told: Told) -> str:
    last = told[-1][1]
    return last.reason if last.is_last else f"all {len(told) - 1} rounds are done"


def _write_decisions(material: Material, told: Told) -> None:
    """Write down every round's figures, whether it was accepted, and why."""
    rounds = [
        {
            "round": number,
            "threshold": read_json(material.folder(number).path / THRESHOLD)["threshold"],
            "figures": figures.to_dict(),
            "is_accepted": verdict.is_accepted,
            "reason": verdict.reason,
        }
        for number, (figures, verdict) in enumerate(told)
    ]
    is_over = told[-1][1].is_last or len(told) > material.plan.rounds
    write_json(
        material.work.run.path / ROUNDS / DECISIONS,
        {
            "accepted": _accepted(told),
            "stopped": _stopped(told) if is_over else None,
            "rounds": rounds,
        },
    )


def _settle(material: Material, told: Told) -> tuple[ThresholdChoice, dict[str, Any]]:
    """Make the last accepted round the run's own; give its threshold and all figures."""
    accepted, stopped = _accepted(told), _stopped(told)
    log.info("self-training takes round %d: %s", accepted, stopped)
    _put_in_place(material, accepted)
    summary: dict[str, Any] = {"round/accepted": accepted, "round/stopped": stopped}
    for number, (figures, _) in enumerate(told):
        summary |= {f"round/{number}/{name}": value for name, value in figures.known().items()}
    choice = read_json(material.folder(accepted).path / THRESHOLD)
    return ThresholdChoice.from_dict(choice), summary


def _put_in_place(material: Material, number: int) -> None:
    """Make a round's products the run's own, file by file; those that are the same stay."""
    run, taken = material.work.run, material.folder(number)
    for frame in track(material.frames, what=f"take round {number}", unit="frames"):
        material.work.check_stop()
        for path_of in (score_path, mask_path):
            _replace(path_of(run, frame.id), path_of(taken, frame.id))
    _replace(run.path / THRESHOLD, taken.path / THRESHOLD)


def _replace(target: Path, source: Path) -> None:
    content = source.read_bytes()
    if not target.exists() or target.read_bytes() != content:
        write_bytes(target, content)


def _tell(plan: Stage2Plan, told: Told) -> None:
    figures, verdict = told[-1]
    shown = ", ".join(f"{key.replace('_', ' ')} {v:.3f}" for key, v in figures.known().items())
    word = "accepted" if verdict.is_accepted else "refused"
    log.info("round %d/%d %s (%s): %s", len(told) - 1, plan.rounds, word, verdict.reason, shown)

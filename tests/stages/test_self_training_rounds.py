"""A round looks at frames as it is told to, and its masks are taken or not by what they show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doors import Chain

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.artifacts import (
    RunFolder,
    load_run,
    read_json,
    read_mask_ids,
    read_scores,
    write_json,
    write_scores,
)
from weakseg.labels import SMOKE
from weakseg.plans import RefinePlan, SelfTrainingPlan, Stage2Plan
from weakseg.refine import FixedThreshold, FrameContext, MaskRule, ThresholdChoice
from weakseg.refine.agreement import RoundFigures
from weakseg.refine.step import scores_of_smoke
from weakseg.stages.refinement import self_training
from weakseg.stages.refinement.cutting import cut_masks
from weakseg.stages.refinement.rounds import Material, figures_of, predict_frames
from weakseg.stages.refinement.self_training import train_rounds
from weakseg.stages.scores import mask_path, score_path
from weakseg.stages.work import Work, frames_of
from weakseg.tracking import NoTracker
from weakseg.training import Interrupted, StopFlag

LEVEL = 1 / 255
RAMP = np.linspace(0, 1, 64, dtype=np.float32)


@pytest.fixture
def material(chain: Chain, tmp_path: Path) -> Iterator[Material]:
    """A stage 2 whose scores are a square on every smoke frame."""
    cams = load_run(chain.run_of("stage1"))
    plan = Stage2Plan(
        output=str(tmp_path / "run"),
        refine=RefinePlan(),
        threshold=FixedThreshold(0.5, band=0),
        masks=MaskRule(),
        rounds=3,
        self_training=SelfTrainingPlan(),
    )
    frames = frames_of(cams)
    probability = {row["id"]: float(row["probability"]) for row in cams.frames}
    folder = RunFolder.open(plan.output, kind="stage2", config={}, settings={}, inputs={}, data={})
    with folder as run:
        work = Work(run, NoTracker(), StopFlag())
        draw(Material(plan, frames, probability, cams, work), None, 0.9, side=20)
        yield Material(plan, frames, probability, cams, work)


def draw(material: Material, number: int | None, score: float, *, side: int) -> None:
    """Write a round's scores, threshold and masks: a square of `score` on the smoke frames."""
    folder = material.work.run if number is None else material.folder(number)
    choice = ThresholdChoice(0.5, 0.5, 0.5, "fixed")
    write_json(folder.path / "threshold.json", choice.to_dict())
    for frame in material.frames:
        scores = np.zeros((48, 64), np.float32)
        scores[:side, :side] = score * frame.label
        write_scores(score_path(folder, frame.id), scores)
    cut_masks(material.plan.masks, choice, material.frames, folder, material.work)


# ---- what a round sees


class Fading:
    """A step that lets smoke fade from right to left."""

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        return scores_of_smoke(RAMP * scores[SMOKE])


class Unasked:
    """A step that needs more than scores: no frame must be taken through it."""

    def __init__(self, **marks: Any) -> None:
        vars(self).update(marks)

    def __call__(self, frame: FrameArray, scores: Scores, context: FrameContext) -> Scores:
        raise AssertionError("it was asked")


def looked_at(material: Material, **settings: Any) -> list[tuple[float, ScoreMap, ScoreMap]]:
    """Let round 1 look at each frame, by a segmenter that sees 0.6 everywhere.

    Gives the frame's probability, its scores of round 0 and those of round 1.
    """
    learning = SelfTrainingPlan(inference=lambda segmenter, frame: segmenter, **settings)
    steps = {"learnt": Unasked(learns=True), "fade": Fading(), "look": Unasked(recipe=None)}
    plan = dataclasses.replace(
        material.plan, self_training=learning, refine=RefinePlan(steps=steps)
    )
    probability = {frame.id: 0.5 + 0.03 * i for i, frame in enumerate(material.frames)}
    now = dataclasses.replace(material, plan=plan, probability=probability)
    draw(now, 0, 0.8, side=20)
    segmenter: Any = np.full((48, 64), 0.6, np.float32)
    predict_frames(now, 1, segmenter, now.frames)
    return [
        (
            probability[frame.id],
            read_scores(score_path(now.folder(0), frame.id)),
            read_scores(score_path(now.folder(1), frame.id)),
        )
        for frame in now.frames
    ]


@pytest.mark.parametrize("blend", [0.0, 0.25])
@pytest.mark.parametrize("refine_again", [False, True])
def test_scores_are_what_is_seen_as_far_as_believed_and_a_share_of_those_before(
    material: Material, blend: float, refine_again: bool
) -> None:
    found = looked_at(material, blend=blend, refine_again=refine_again)
    assert len(found) == 16
    fading = RAMP if refine_again else 1
    for probability, before, after in found:
        expected = (1 - blend) * 0.6 * probability * fading + blend * before
        np.testing.assert_allclose(after, expected, atol=LEVEL / 2 + 1e-6)


# ---- decisions


def pretended(
    material: Material, monkeypatch: pytest.MonkeyPatch, sides: list[int]
) -> dict[str, object]:
    """Let round r find squares of `sides[r - 1]` pixels; give the summary."""

    def make_round(material: Material, number: int) -> RoundFigures:
        draw(material, number, 0.8, side=sides[number - 1])
        write_json(material.folder(number).path / "learnt.json", {"auroc": 0.9})
        return figures_of(material, number)

    monkeypatch.setattr(self_training, "make_round", make_round)
    plan = dataclasses.replace(material.plan, rounds=len(sides))
    choice, summary = train_rounds(
        plan,
        material.frames,
        ThresholdChoice(0.5, 0.5, 0.5, "fixed"),
        material.work,
        probability=material.probability,
        start=material.start,
    )
    assert choice.threshold == 0.5
    return summary


def sides_of(material: Material) -> set[int]:
    """Measure the squares in the run's own masks of smoke frames."""
    run = material.work.run
    masks = [read_mask_ids(mask_path(run, f.id)) for f in material.frames if f.label == SMOKE]
    return {int(np.sqrt((mask == SMOKE).sum())) for mask in masks}


def test_round_that_gets_worse_leaves_the_earlier_masks(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = pretended(material, monkeypatch, [16, 0, 12])
    assert summary["round/accepted"] == 1
    assert "recall fell from 1.000 to 0.000" in str(summary["round/stopped"])
    assert sides_of(material) == {16}
    told = read_json(material.work.run.path / "rounds" / "rounds.json")
    assert [each["is_accepted"] for each in told["rounds"]] == [True, True, False]
    assert not material.folder(3).path.exists()


def test_no_good_round_leaves_the_run_as_it_was(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in material.work.run.masks.iterdir()}
    summary = pretended(material, monkeypatch, [45])
    assert summary["round/accepted"] == 0
    assert "times as much as in round 0" in str(summary["round/stopped"])
    assert before == {path: path.stat().st_mtime_ns for path in material.work.run.masks.iterdir()}


def test_rounds_end_when_masks_stand_still(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = pretended(material, monkeypatch, [16, 16, 12])
    assert (summary["round/accepted"], summary["round/2/agreement"]) == (2, 1.0)
    assert "converged" in str(summary["round/stopped"])


def test_decisions_are_the_same_when_made_again_after_a_stop(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    flag = material.work.stop
    put = self_training._replace

    def stop_after_one(target: Path, source: Path) -> None:
        put(target, source)
        flag.set()

    with monkeypatch.context() as halfway:
        halfway.setattr(self_training, "_replace", stop_after_one)
        with pytest.raises(Interrupted):
            pretended(material, monkeypatch, [16, 12])
    assert sides_of(material) == {20, 12}
    flag._reason = ""
    assert pretended(material, monkeypatch, [16, 12])["round/accepted"] == 2
    assert sides_of(material) == {12}
    start = {int((read_mask_ids(p) == SMOKE).sum()) for p in material.folder(0).masks.iterdir()}
    assert start == {0, 400}

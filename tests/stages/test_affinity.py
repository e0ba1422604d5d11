"""Affinities are learned from seeds, stopped and resumed exactly, and complete a partial seed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from weakseg.arrays import ScoreMap
from weakseg.artifacts import RunFolder, read_mask_ids
from weakseg.data import Augmentation, DataError, Frame, read_frame
from weakseg.errors import ArtifactError
from weakseg.labels import BACKGROUND, IGNORE, SMOKE
from weakseg.models.affinity_net import AffinityNet
from weakseg.plans import Stage2Plan
from weakseg.refine.affinity import AffinityStep
from weakseg.refine.cells import shrink_within
from weakseg.refine.step import FrameContext, scores_of_smoke
from weakseg.stages.refinement.affinity import CHECKPOINTS, LEARNED, METRICS, SEEDS, learn
from weakseg.stages.work import Work
from weakseg.tracking import NoTracker
from weakseg.training import FitSettings, Interrupted, StopFlag

SIDE = 64
PLAN = Stage2Plan()
ScoresOf = Callable[[Frame], ScoreMap]


def work_of(stop: StopFlag | None = None) -> Work:
    """Give a stage's work; learning looks at its tracker and its stop flag only."""
    return Work(cast(RunFolder, None), NoTracker(), stop or StopFlag())


def step_of(**settings: Any) -> AffinityStep:
    defaults: dict[str, Any] = {
        "encoder": "test_resnet",
        "weights": None,
        "image_size": SIDE,
        "augmentation": None,
        "lr": 3e-3,
        "head_lr_factor": 1.0,
        "fit": FitSettings(epochs=1, batch_size=4, accelerator="cpu"),
    }
    return AffinityStep(**{**defaults, **settings})


def blob(seed: int) -> np.ndarray:
    """Draw where the smoke of a frame is: an ellipse, bool (SIDE, SIDE)."""
    rng = np.random.default_rng(seed)
    (y0, x0), (a, b) = rng.uniform(24, 40, 2), rng.uniform(12, 20, 2)
    y, x = np.mgrid[:SIDE, :SIDE]
    inside: np.ndarray = ((y - y0) / a) ** 2 + ((x - x0) / b) ** 2 < 1
    return inside


@pytest.fixture
def frames(tmp_path: Path) -> list[Frame]:
    """Ten frames of two colours; every fifth one is smoke-free, the last four are for val."""
    found = []
    for i in range(10):
        label = int(i % 5 != 4)
        is_smoke = blob(i) & bool(label)
        colours = np.where(is_smoke[..., None], (185, 185, 185), (90, 140, 210))
        noisy = colours + np.random.default_rng(i).normal(0, 6, colours.shape)
        path = tmp_path / f"f{i}.png"
        cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8)[..., ::-1].copy())
        found.append(Frame(f"f{i}", path, label, f"s{i}", "train" if i < 6 else "val"))
    return found


def partial_scores(frame: Frame) -> ScoreMap:
    """Score the upper part of the smoke highly, its surroundings doubtfully, the rest low."""
    inside = blob(int(frame.id[1:]))
    rows = np.flatnonzero(inside.any(axis=1))
    upper = np.arange(SIDE)[:, None] < rows[0] + 0.5 * len(rows)
    doubtful = cv2.dilate(inside.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    scores = np.where(inside & upper, 0.9, np.where(doubtful, 0.25, 0.02)).astype(np.float32)
    return scores if frame.label else np.full_like(scores, 0.02)


def refined(step: AffinityStep, frame: Frame) -> ScoreMap:
    smoke = partial_scores(frame)
    context = FrameContext(frame.id, 1.0, smoke)
    refined_scores: ScoreMap = step(read_frame(frame.path), scores_of_smoke(smoke), context)[SMOKE]
    return refined_scores


def iou(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((found & wanted).sum() / (found | wanted).sum())


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Read the figures of a training, without the time they took."""
    lines = (folder / METRICS).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def test_learned_affinities_complete_a_partial_seed(frames: list[Frame], tmp_path: Path) -> None:
    step = step_of(
        encoder="test_efficientnet",
        weight=1.0,
        max_gain=4.0,
        lr=1e-2,
        fit=FitSettings(epochs=16, batch_size=4, accelerator="cpu"),
    )
    unseen = [frame for frame in frames if frame.split == "val" and frame.label]

    def mean_iou(scores_of: ScoresOf) -> float:
        return float(np.mean([iou(scores_of(f) > 0.5, blob(int(f.id[1:]))) for f in unseen]))

    step.network = step.new_network().eval()
    untaught = mean_iou(lambda frame: refined(step, frame))
    learn(step, frames, partial_scores, tmp_path / "step", work_of(), PLAN)
    taught, seeds = mean_iou(lambda frame: refined(step, frame)), mean_iou(partial_scores)
    # Measured: 0.89 taught, 0.51 the seeds, 0.19 a network that knows nothing.
    assert taught > max(seeds, untaught) + 0.15


def test_seeds_are_written_for_smoke_frames_of_train_and_val(
    frames: list[Frame], tmp_path: Path
) -> None:
    others = [replace(frame, id=f"t{frame.id}", split="test") for frame in frames]
    learn(step_of(), [*frames, *others], partial_scores, tmp_path / "step", work_of(), PLAN)
    written = {path.stem for path in (tmp_path / "step" / SEEDS).iterdir()}
    assert written == {frame.id for frame in frames if frame.label == SMOKE}
    seeds = read_mask_ids(tmp_path / "step" / SEEDS / "f0.png")
    scores = partial_scores(frames[0])
    wanted = np.where(scores == 0.9, SMOKE, np.where(scores == 0.02, BACKGROUND, IGNORE))
    np.testing.assert_array_equal(seeds, wanted)


def test_training_and_walk_see_frames_at_one_scale(
    frames: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    forward = AffinityNet.forward

    def spy(self: AffinityNet, images: Tensor) -> Tensor:
        seen.extend((images * 255).round().byte().permute(0, 2, 3, 1).numpy())
        return forward(self, images)

    monkeypatch.setattr(AffinityNet, "forward", spy)
    step = step_of(image_size=16, max_side=2 * 16, radius=2)
    learn(step, frames, partial_scores, tmp_path / "step", work_of(), PLAN)
    walked = [shrink_within(read_frame(frame.path), 2 * 16) for frame in frames]
    assert len(seen) > len(frames)
    for square in seen:
        windows = [sliding_window_view(each, square.shape)[:, :, 0] for each in walked]
        assert any((each == square).all(axis=(2, 3, 4)).any() for each in windows)


def test_a_stopped_training_goes_on_exactly(frames: list[Frame], tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "augmentation": Augmentation(crop_scale_min=0.5),
        "fit": FitSettings(
            epochs=2, batch_size=2, log_every=1, accelerator="cpu", checkpoint_seconds=0
        ),
    }
    whole = step_of(**settings)
    learn(whole, frames, partial_scores, tmp_path / "whole", work_of(), PLAN)
    step, stop = step_of(**settings), StopFlag()

    class Stopper(NoTracker):
        def log(self, row: Any, at: int) -> None:
            if at == 3:
                stop.set()

    work = Work(cast(RunFolder, None), Stopper(), stop)
    with pytest.raises(Interrupted, match="after step 3"):
        learn(step, frames, partial_scores, tmp_path / "parts", work, PLAN)
    assert step.network is None
    again = step_of(**settings)
    learn(again, frames, partial_scores, tmp_path / "parts", work_of(), PLAN)
    best = Path(CHECKPOINTS) / "best.safetensors"
    assert (tmp_path / "parts" / best).read_bytes() == (tmp_path / "whole" / best).read_bytes()
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")
    np.testing.assert_array_equal(refined(again, frames[6]), refined(whole, frames[6]))


def test_a_frame_that_is_mended_in_between_changes_nothing(
    frames: list[Frame], tmp_path: Path
) -> None:
    fit = FitSettings(epochs=2, batch_size=2, log_every=1, accelerator="cpu", checkpoint_seconds=0)
    stop = StopFlag()

    class Stopper(NoTracker):
        def log(self, row: Any, at: int) -> None:
            stop.set()

    work = Work(cast(RunFolder, None), Stopper(), stop)
    with pytest.raises(Interrupted):
        learn(step_of(fit=fit), frames[1:], partial_scores, tmp_path / "parts", work, PLAN)
    with pytest.raises(ArtifactError, match=r"learn from f1, which is no longer there: restore"):
        learn(step_of(fit=fit), frames[2:], partial_scores, tmp_path / "parts", work_of(), PLAN)
    learn(step_of(fit=fit), frames, partial_scores, tmp_path / "parts", work_of(), PLAN)
    learn(step_of(fit=fit), frames[1:], partial_scores, tmp_path / "whole", work_of(), PLAN)
    assert rows_of(tmp_path / "parts") == rows_of(tmp_path / "whole")


def test_a_gpu_that_is_asked_for_is_not_replaced_by_the_cpu(
    frames: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = step_of()
    learn(step, frames, partial_scores, tmp_path / "step", work_of(), PLAN)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    again = step_of(fit=replace(step.fit, accelerator="gpu"))
    with pytest.raises(ValueError, match="device=gpu, but torch sees 0 GPUs"):
        learn(again, frames, partial_scores, tmp_path / "step", work_of(), PLAN)


def test_a_finished_training_returns_at_once(frames: list[Frame], tmp_path: Path) -> None:
    step = step_of()
    learn(step, frames, partial_scores, tmp_path / "step", work_of(), PLAN)

    def no_scores(frame: Frame) -> ScoreMap:
        raise AssertionError("looked at the scores again")

    again = step_of()
    learn(again, frames, no_scores, tmp_path / "step", work_of(), PLAN)
    np.testing.assert_array_equal(refined(again, frames[6]), refined(step, frames[6]))
    other = step_of(foreground=0.6)
    with pytest.raises(ArtifactError, match=r"other settings of refine\.steps\.step"):
        learn(other, frames, no_scores, tmp_path / "step", work_of(), PLAN)


def test_stopping_while_seeds_are_made_keeps_them(frames: list[Frame], tmp_path: Path) -> None:
    stop, asked = StopFlag(), []

    def scores_of(frame: Frame) -> ScoreMap:
        asked.append(frame.id)
        if len(asked) == 2:
            stop.set()
        return partial_scores(frame)

    with pytest.raises(Interrupted):
        learn(step_of(), frames, scores_of, tmp_path / "step", work_of(stop), PLAN)
    assert len(list((tmp_path / "step" / SEEDS).iterdir())) == 2
    learn(step_of(), frames, scores_of, tmp_path / "step", work_of(), PLAN)
    assert len(asked) == len(set(asked)) == 8
    assert (tmp_path / "step" / LEARNED).exists()


@pytest.mark.parametrize("splits", [("train",), ("train", "val")])
def test_frames_without_seeds_are_left_out(
    splits: Sequence[str], frames: list[Frame], tmp_path: Path
) -> None:
    def one_only(frame: Frame) -> ScoreMap:
        return partial_scores(frame) * (frame.id == "f0")

    chosen = [frame for frame in frames if frame.split in splits]
    step = step_of(fit=FitSettings(epochs=1, batch_size=2, accelerator="cpu"))
    learn(step, chosen, one_only, tmp_path / "step", work_of(), PLAN)
    assert refined(step, frames[0]).max() > 0
    # The one frame with seeds, as often as the one smoke-free frame, for all of val has none.
    assert rows_of(tmp_path / "step")[-1]["val/between"] > 0


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({}, r"lower refine\.steps\.sure\.foreground \(now 0\.5\)"),
        (
            {"seed_rule": "two_backgrounds"},
            r"raise refine\.steps\.sure\.alpha_strong \(now 4\)",
        ),
    ],
)
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_no_seeds_at_all_name_the_keys(
    settings: dict[str, Any], keys: str, score: float, frames: list[Frame], tmp_path: Path
) -> None:
    def constant(frame: Frame) -> ScoreMap:
        return np.full((SIDE, SIDE), score, np.float32)

    with pytest.raises(DataError, match=keys):
        learn(step_of(**settings), frames, constant, tmp_path / "sure", work_of(), PLAN)

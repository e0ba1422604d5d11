"""How far stage 3 believes its masks: what is laid out, what counts, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doors import Accident, Chain, Doors

from weakseg.artifacts import (
    FinishedRun,
    Manifest,
    RunPaths,
    load_run,
    read_json,
    read_mask_ids,
    read_scores,
)
from weakseg.data import SegmentationData, SegmentationItem
from weakseg.plans import Stage3Plan, SupervisionPlan
from weakseg.refine import confidence
from weakseg.refine.doubt import ignore_near_edges, ignore_uncertain
from weakseg.stages.doubt import check_doubts, noise_of
from weakseg.stages.scores import THRESHOLD, mask_path, score_path
from weakseg.stages.supervision import open_teaching, training_items
from weakseg.stages.work import Work, what_counts
from weakseg.tracking import NoTracker
from weakseg.training import StopFlag


@pytest.fixture(scope="module")
def chain(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """The chain in a folder of this module's own: its runs must not be the latest for others."""
    root = tmp_path_factory.mktemp("chain_of_its_own")
    shutil.copytree(chain.root / "runs", root / "runs")
    return Chain(root, chain.arguments)


@pytest.fixture
def pseudo(chain: Chain) -> FinishedRun:
    return load_run(chain.run_of("stage2"), kind="stage2")


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(RunPaths(tmp_path / "run"), NoTracker(), StopFlag())  # type: ignore[arg-type]


def items_of(pseudo: FinishedRun, work: Work, **doubts: Any) -> list[SegmentationItem]:
    plan = Stage3Plan(pseudo_masks=str(pseudo.path), supervision=SupervisionPlan(**doubts))
    return training_items(open_teaching(plan), work)


def test_pseudo_masks_are_noisy_and_smoke_free_frames_are_not(
    pseudo: FinishedRun, work: Work
) -> None:
    for item in items_of(pseudo, work):
        assert item.is_noisy == (item.frame.label == 1)
        assert item.weight_path is None


def test_weights_fall_to_the_floor_at_the_threshold(pseudo: FinishedRun, work: Work) -> None:
    threshold = read_json(pseudo.path / THRESHOLD)["threshold"]
    for item in items_of(pseudo, work, confidence_floor=0.25):
        if item.frame.label == 0:
            assert item.weight_path is None
            continue
        assert item.weight_path is not None
        scores = read_scores(score_path(pseudo, item.frame.id))
        expected = confidence(scores, threshold=threshold, floor=0.25)
        np.testing.assert_allclose(read_scores(item.weight_path), expected, atol=1 / 255)
        assert item.mask_path == mask_path(pseudo, item.frame.id)


def test_bands_are_laid_out_beside_the_pseudo_masks(pseudo: FinishedRun, work: Work) -> None:
    threshold = read_json(pseudo.path / THRESHOLD)["threshold"]
    for item in items_of(pseudo, work, edge_band_pixels=2, uncertain_band=0.3):
        if item.frame.label == 0:
            continue
        assert item.mask_path is not None
        assert item.mask_path.is_relative_to(work.run.path)
        given = read_mask_ids(mask_path(pseudo, item.frame.id))
        scores = read_scores(score_path(pseudo, item.frame.id))
        banded = ignore_near_edges(given, pixels=2)
        banded = ignore_uncertain(banded, scores, threshold=threshold, width=0.3)
        np.testing.assert_array_equal(read_mask_ids(item.mask_path), banded)
        assert (banded != given).any()


def test_frames_nobody_knows_come_along_for_agreement(
    pseudo: FinishedRun, work: Work, tiny_source: Any
) -> None:
    full = Stage3Plan(
        data=tiny_source,
        supervision=SupervisionPlan("full", fraction=0.5, consistency_weight=1.0),
    )
    items = training_items(open_teaching(full), work)
    unknown = [item for item in items if item.is_unlabelled]
    assert len(unknown) == 2
    assert {item.frame.label for item in unknown} == {1}
    batch = SegmentationData(unknown, image_size=32)[0]
    assert (batch["mask"] == 255).all()
    record = json.loads((work.run.path / "supervision.json").read_text())
    assert record["frames_without_labels"] == 2


def test_what_is_off_is_no_companion_of_the_training() -> None:
    assert noise_of(SupervisionPlan(), precision="32") is None
    assert noise_of(SupervisionPlan(confidence_floor=0.3), precision="32") is None
    for on in ({"trim_share": 0.1}, {"consistency_weight": 1.0}, {"correction_confidence": 0.8}):
        assert noise_of(SupervisionPlan(**on), precision="32") is not None


def test_what_is_off_does_not_count() -> None:
    """So that a run made before a setting existed is still the same run."""
    weak = vars(SupervisionPlan())
    assert what_counts({"supervision": weak})["supervision"] == {"mode": "weak"}
    assert what_counts({"supervision": {**weak, "seed": 5, "fraction": 0.1, "masks": "x"}}) == {
        "supervision": {"mode": "weak"}
    }
    mixed = {**weak, "mode": "mixed", "fraction": 0.1, "seed": 5, "masks": "x", "trim_share": 0.2}
    assert what_counts({"supervision": mixed})["supervision"] == {
        "mode": "mixed",
        "fraction": 0.1,
        "seed": 5,
        "trim_share": 0.2,
    }


@pytest.mark.parametrize(
    ("doubts", "words"),
    [
        ({"confidence_floor": 2.0}, "supervision.confidence_floor must"),
        ({"uncertain_band": -0.1}, "supervision.uncertain_band must"),
        ({"edge_band_pixels": -1}, "supervision.edge_band_pixels must"),
        ({"mode": "full", "trim_share": 0.1}, "supervision=full learns none"),
        (
            {"mode": "full", "correction_confidence": 0.8},
            "supervision.correction_confidence doubts",
        ),
    ],
)
def test_wrong_doubts_are_refused(doubts: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_doubts(SupervisionPlan(**doubts))


EVERY_DOUBT = (
    "supervision.confidence_floor=0.3",
    "supervision.edge_band_pixels=1",
    "supervision.trim_share=0.2",
    "supervision.correction_confidence=0.6",
    "supervision.slope_drop=0.3",
    "supervision.consistency_weight=1",
    "loss.label_smoothing=0.05",
    "fit.epochs=5",
    "fit.log_every=1",
    "fit.checkpoint_seconds=0",
)


def test_the_command_learns_with_every_doubt_and_is_killed_without_a_trace(
    doors: Doors, chain: Chain
) -> None:
    given = [a for a in chain.arguments["stage3"] if not a.startswith(("output=", "fit."))]
    given += [*EVERY_DOUBT, "fit.batch_size=4", "pseudo_masks=runs/stage2/tiny"]
    whole, killed = (chain.root / "runs/stage3" / name for name in ("doubting", "killed"))
    done = doors.must("stage3", *given, f"output={whole}", cwd=chain.root)
    accident = Accident("SIGKILL", "after", done.renamings // 2)
    dead = doors.run("stage3", *given, f"output={killed}", cwd=chain.root, accident=accident)
    assert dead.code == -signal.SIGKILL
    doors.must("stage3", *given, f"output={killed}", cwd=chain.root)
    one, other = (run / "checkpoints" / "best.safetensors" for run in (whole, killed))
    assert one.read_bytes() == other.read_bytes()
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "train/loss" in row][-1]
    assert last["train/consistency"] > 0
    assert last["train/trimmed"] > 0
    assert last["train/corrected"] > 0
    assert Manifest.read(whole).settings["supervision"]["trim_share"] == 0.2


def test_a_network_that_learns_itself_cannot_doubt(doors: Doors, chain: Chain) -> None:
    arguments = [a for a in chain.arguments["stage3"] if not a.startswith(("output=", "segment"))]
    done = doors.run(
        "stage3",
        *arguments,
        "segmenter=maskrcnn",
        "segmenter.weights=none",
        "supervision.trim_share=0.2",
        "pseudo_masks=runs/stage2/tiny",
        "output=runs/stage3/itself",
        cwd=chain.root,
    )
    assert "learns by itself: leave supervision.trim_share" in done.sentence

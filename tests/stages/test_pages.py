"""Each stage's page is written for ordinary runs, and for runs with hardly anything to show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from doors import Chain

from weakseg.artifacts import FinishedRun, FrameRow, load_run
from weakseg.data import IndexSource
from weakseg.stages.evaluation.measuring import Evaluation, evaluate, frames_with_truth, known_masks
from weakseg.stages.evidence import EvidenceReader
from weakseg.stages.pages.cams import cams_page
from weakseg.stages.pages.common import of_many_scenes
from weakseg.stages.pages.evaluation import evaluation_page
from weakseg.stages.pages.pseudo_masks import pseudo_masks_page
from weakseg.stages.pages.segmentation import segmentation_page
from weakseg.stages.scores import stored_scores
from weakseg.stages.work import frame_of


@pytest.fixture
def runs(chain: Chain, tmp_path: Path) -> dict[str, FinishedRun]:
    """The three runs, copied, so that pages can be written into them."""
    shutil.copytree(chain.root / "runs", tmp_path / "runs")
    stages = ("stage1", "stage2", "stage3")
    return {stage: load_run(tmp_path / "runs" / stage / "tiny") for stage in stages}


def summary(run: FinishedRun) -> dict[str, Any]:
    return json.loads(run.summary_path.read_text())


def panels(page: Path) -> int:
    return page.read_text().count("data:image/")


CHOICES = {
    "all frames": lambda row: True,
    "one smoke frame": lambda row: row["id"] == "scene6_0",
    "one clear frame": lambda row: row["id"] == "scene7_0",
    "no frame": lambda row: False,
}


def chosen(run: FinishedRun, which: str) -> list[FrameRow]:
    return [row for row in run.frames if CHOICES[which](row)]


@pytest.mark.parametrize("which", CHOICES)
def test_cams_page(runs: dict[str, FinishedRun], which: str) -> None:
    run = runs["stage1"]
    rows = chosen(run, which)
    given = summary(run) if rows else {}
    page = cams_page(run, rows, summary=given, count=2, config=run.manifest.config)  # type: ignore[arg-type]
    assert page == run.report_path
    assert panels(page) >= 3 * min(2, len(rows))
    assert "test_resnet" in page.read_text()


@pytest.mark.parametrize("which", CHOICES)
def test_pseudo_masks_page(runs: dict[str, FinishedRun], which: str) -> None:
    run = runs["stage2"]
    rows = chosen(run, which)
    page = pseudo_masks_page(
        run,  # type: ignore[arg-type]
        rows,
        evidence=EvidenceReader(runs["stage1"]),
        summary=summary(run),
        count=2,
        config=run.manifest.config,
    )
    assert "chosen without masks" in page.read_text()
    assert (panels(page) > 0) == any(int(row["label"]) for row in rows)


def evaluation(run: FinishedRun, rows: list[FrameRow]) -> Evaluation | None:
    masks = known_masks(run.data)
    frames = frames_with_truth([frame_of(row) for row in rows], masks, "test")
    return evaluate(frames, masks, stored_scores(run), 0.5, draws=10) if frames else None


@pytest.mark.parametrize("which", CHOICES)
@pytest.mark.parametrize("selection", ["labels", "val"])
def test_segmentation_page(runs: dict[str, FinishedRun], which: str, selection: str) -> None:
    run = runs["stage3"]
    rows = chosen(run, which)
    test = evaluation(run, rows)
    page = segmentation_page(
        run,  # type: ignore[arg-type]
        rows,
        test=test,
        summary=summary(run) | {"selection": selection},
        count=1,
        config=run.manifest.config,
    ).read_text()
    assert ("image labels" if selection == "labels" else "by the masks of val") in page
    assert ("read the test split once" in page) == (test is not None)


def test_evaluation_page_names_masks_and_scenes(
    runs: dict[str, FinishedRun], tiny_source: IndexSource
) -> None:
    run = runs["stage3"]
    result = evaluation(run, list(run.frames))
    assert result is not None
    frames = [frame_of(row) for row in run.frames if row["split"] == "test"]
    page = evaluation_page(
        run.path / "evaluation",
        "other",
        run=run,
        result=result,
        frames=frames,
        data=tiny_source.settings(),
        scores=stored_scores(run),
        threshold=0.5,
        count=2,
    )
    text = page.read_text()
    assert page.name == "other.html"
    assert "4 frames of 2 scenes" in text
    for part in ("IoU per image", "IoU against size", "Reliability of the scores", "Scenes: 2"):
        assert part in text
    assert 'href="../MODEL_CARD.md"' in text
    assert "by the rule fixed" in text
    assert "Weak supervision" in text


def test_false_alarms_are_shown_with_their_scores_even_without_masks(
    runs: dict[str, FinishedRun],
) -> None:
    run = runs["stage3"]
    clear = [row | {"smoke_share": "0.25"} for row in run.frames if row["label"] == "0"]
    page = segmentation_page(
        run,  # type: ignore[arg-type]
        clear,
        test=None,
        summary=summary(run),
        count=1,
        config=run.manifest.config,
    ).read_text()
    alarms = page[page.index("<h2>False alarms</h2>") :]
    assert "called smoke on 25.0 % of the frame" in alarms
    assert "score of the frame" in alarms
    assert panels(run.report_path) == 3


def test_rules_are_compared_on_the_page_of_stage_3(runs: dict[str, FinishedRun]) -> None:
    page = runs["stage3"].report_path.read_text()
    rules = page[page.index("By rule for the threshold") :]
    for rule in ("own", "false_alarm", "otsu", "mixture", "size", "highest", "oracle"):
        assert f">{rule}</td>" in rules


@pytest.mark.parametrize(
    ("count", "chosen"), [(1, ["a1"]), (2, ["a1", "b1"]), (3, ["a1", "b1", "a2"]), (9, None)]
)
def test_frames_of_many_scenes_come_first(count: int, chosen: list[str] | None) -> None:
    names = ["a1", "a2", "a3", "b1", "b2"]
    found = of_many_scenes(names, lambda name: name[0], count)
    assert found == (chosen or ["a1", "b1", "a2", "a3", "b2"])

"""Which epoch of a segmenter is kept: what the summary tells is what the training is asked for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from weakseg.artifacts.paths import RunPaths
from weakseg.models import TiledInference
from weakseg.plans import Stage3Plan, SupervisionPlan
from weakseg.stages import segmentation
from weakseg.stages.supervision import Teaching
from weakseg.training import FitSettings

BEST, LAST = "selection", None


@pytest.mark.parametrize(
    ("keep", "selection", "has_pseudo_masks", "monitor", "told"),
    [
        ("auto", "labels", True, BEST, "labels_and_pseudo_masks"),
        ("auto", "labels", False, LAST, "last"),
        ("auto", "val", False, BEST, "val_masks"),
        ("best", "labels", False, BEST, "labels"),
        ("best", "val", True, BEST, "val_masks"),
        ("last", "labels", True, LAST, "last"),
        ("last", "val", True, LAST, "last"),
    ],
)
def test_the_epoch_that_is_told_is_the_one_that_is_kept(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    keep: str,
    selection: str,
    has_pseudo_masks: bool,
    monitor: str | None,
    told: str,
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        segmentation, "fit_segmenter", lambda *_, **settings: asked.update(settings)
    )
    monkeypatch.setattr(segmentation, "training_items", lambda *_: [])
    monkeypatch.setattr(segmentation, "supervision_of", lambda _: {"mode": "weak"})
    plan = Stage3Plan(
        keep=keep,
        selection=selection,
        inference=TiledInference(image_size=32),
        fit=FitSettings(batch_size=2),
        image_size=32,
    )
    pseudo: Any = RunPaths(tmp_path) if has_pseudo_masks else None
    teaching = Teaching(SupervisionPlan(), [], {}, pseudo)
    work: Any = SimpleNamespace(run=RunPaths(tmp_path), log_row=None, stop=None)
    segmentation.train_segmenter(plan, nn.Identity(), teaching, None, work)  # type: ignore[arg-type]
    assert asked["monitor"] == monitor
    assert segmentation.describe(plan, teaching, work.run)["epoch_by"] == told

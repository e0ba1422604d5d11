"""Tell a stage-1 run on one page: does the classifier know, and where does it look?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weakseg.artifacts import RunFolder
from weakseg.data import read_frame
from weakseg.report import Card, PanelRow, Report, write_report
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.pages.common import Rows, by_probability, spread, training_curves
from weakseg.stages.pages.panels import as_text, figures_table, pictures_of


def cams_page(
    run: RunFolder,
    rows: Rows,
    *,
    summary: Mapping[str, float],
    count: int,
    config: Mapping[str, Any],
) -> Path:
    """Write the page of a stage-1 run: does the classifier know, and where does it look?"""
    evidence = EvidenceReader(run)

    def panel(row: Mapping[str, str]) -> PanelRow:
        pixels = read_frame(row["path"])
        low, probability = evidence(row["id"])
        score = at_frame_size(low, *pixels.shape[:2])
        pictures = pictures_of("evidence", pixels, score)
        return PanelRow(row["id"], f"probability of smoke {probability:.2f}", pictures)

    smoke, clear = by_probability(rows)
    return write_report(
        run.path,
        Report(
            title=f"Stage 1: CAMs of {config['classifier']['name']}",
            status=[
                "Trained on image labels alone; the best epoch is chosen by the labels of val.",
                "Evidence is absolute: 0 is none, 1 is full, on one scale for all frames.",
            ],
            cards=[
                Card(f"AUROC on {split}", summary[f"{split}/auroc"], "by image labels")
                for split in ("val", "test", "train")
                if f"{split}/auroc" in summary
            ],
            curves=training_curves(run),
            panels=[panel(row) for row in spread(smoke, count)],
            colours=(),
            false_alarms=[panel(row) for row in clear[-count:][::-1]],
            tables=[figures_table(summary)],
            config=as_text(config),
        ),
    )

"""Draw the pictures of the site from the runs of `make demo`: `python docs/site/pictures.py`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap
from weakseg.artifacts import load_run, read_mask_ids, read_scores
from weakseg.artifacts.pictures import write_picture
from weakseg.data import Frame, read_frame
from weakseg.refine.crf import DenseCrf
from weakseg.report import comparison, heatmap, overlay, panel_sheet
from weakseg.stages.evaluation.measuring import truths
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.scores import mask_path, score_path

PICTURES = Path(__file__).parents[1] / "pictures"
FRAMES = 3
REACHES = (5.0, 20.0, 60.0)


def main(demo: Path) -> None:
    """Write `stages.png`, `crf.png` and `judged.png` from the runs in `demo`."""
    stage1, stage2, stage3 = (load_run(demo / f"stage{n}", kind=f"stage{n}") for n in (1, 2, 3))
    evidence = EvidenceReader(stage1)
    smoky = [row for row in stage2.frames if row["label"] == "1" and row["split"] == "train"]
    chosen = _spread(sorted(smoky, key=lambda row: float(row["smoke_share"])))

    def soft(row: Mapping[str, str], pixels: FrameArray) -> ScoreMap:
        return at_frame_size(evidence(row["id"])[0], *pixels.shape[:2])

    rows = []
    for row in chosen:
        pixels = read_frame(row["path"])
        mask = read_mask_ids(mask_path(stage2, row["id"]))
        refined = read_scores(score_path(stage2, row["id"]))
        drawn = [pixels, heatmap(soft(row, pixels)), heatmap(refined), overlay(pixels, mask)]
        rows.append(drawn)
    write_picture(PICTURES / "stages.png", panel_sheet(rows, long_side=220))

    rows = []
    for row in chosen:
        pixels = read_frame(row["path"])
        scores = np.stack([1 - soft(row, pixels), soft(row, pixels)]).astype(np.float32)
        reached = [DenseCrf(sigma_xy_pixels=reach)(pixels, scores)[1] for reach in REACHES]
        rows.append([pixels, heatmap(scores[1]), *map(heatmap, reached)])
    write_picture(PICTURES / "crf.png", panel_sheet(rows, long_side=180))

    truth, threshold = truths(stage3.data), 0.5
    judged = [row for row in stage3.frames if row["label"] == "1" and row["split"] == "test"]
    judged = _spread(sorted(judged, key=lambda row: float(row["smoke_share"])))
    rows = []
    for row in judged:
        pixels = read_frame(row["path"])
        scores = read_scores(score_path(stage3, row["id"]))
        frame = Frame(row["id"], Path(row["path"]), 1, row["scene"], row["split"])
        real = truth(frame, *scores.shape)
        found = (scores >= threshold).astype(np.uint8)
        rows.append([pixels, heatmap(scores), comparison(pixels, found, real)])
    write_picture(PICTURES / "judged.png", panel_sheet(rows, long_side=220))


def _spread(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Take rows from the first to the last, evenly."""
    places = np.linspace(0.25, 0.95, FRAMES) * (len(rows) - 1)
    return [rows[round(place)] for place in places]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo"))

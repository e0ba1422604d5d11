"""Stage 2: refine evidence, choose a threshold without masks, cut pseudo-masks."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weakseg.artifacts import (
    FinishedRun,
    RunFolder,
    read_mask_ids,
    read_scores,
    write_frames,
    write_json,
    write_mask,
    write_scores,
)
from weakseg.data import Frame, read_frame
from weakseg.labels import IGNORE, SMOKE
from weakseg.plans import Stage2Plan
from weakseg.refine import EvidenceStatistics, MaskRule, ThresholdChoice, refine
from weakseg.stages.evidence import EvidenceReader, at_frame_size
from weakseg.stages.pages import overlay_sheet, pseudo_masks_page
from weakseg.stages.scores import THRESHOLD, mask_path, score_path
from weakseg.stages.showing import show
from weakseg.stages.work import Work, at_work, find_run, frames_of, settle_hardware
from weakseg.training import track

log = logging.getLogger(__name__)


def run(plan: Stage2Plan, config: Mapping[str, Any]) -> Path:
    """Run stage 2 as `plan` says; give its run folder."""
    settle_hardware(plan.hardware, seed=plan.seed)
    cams = find_run(plan.cams, kind="stage1", beside=plan.output)
    frames = frames_of(cams)
    inputs = {"frames": cams.manifest.inputs["frames"], "stage1": cams.manifest.fingerprint}
    inputs |= {f"weights of {name}": sha for name, sha in _weights(plan.refine.steps).items()}
    with at_work(plan, config, kind="stage2", inputs=inputs, data=cams.manifest.data) as work:
        if not work.run.is_complete:
            started = time.monotonic()
            write_json(work.run.path / "inputs.json", {"stage1": str(cams.path.resolve())})
            refine_frames(plan, frames, EvidenceReader(cams), work)
            choice = choose_threshold(plan, cams, frames, work.run)
            cut_masks(plan.masks, choice, frames, work)
            rows = _rows(frames, cams, work.run)
            summary = summarise(rows, choice) | {"seconds": time.monotonic() - started}
            show(
                work,
                rows,
                {"pseudo-mask": lambda row, *_: read_mask_ids(mask_path(work.run, row["id"]))},
                count=plan.report_frames,
                files=("masks", "frames.csv", THRESHOLD),
            )
            work.tracker.finish(summary, "finished")
            overlay_sheet(work.run, rows, 2 * plan.report_frames)
            pseudo_masks_page(
                work.run,
                rows,
                cams=cams,
                summary=summary,
                count=plan.report_frames,
                config=config,
            )
            work.run.finish(summary)
            log.info("threshold %.3f by %s", choice.threshold, choice.rule)
            log.info("report: %s", work.run.report_path)
        return work.run.path


def _weights(steps: Mapping[str, Any]) -> dict[str, str]:
    """Give the hash of the weights of every step that has some."""
    found = {name: getattr(step, "weights_sha256", None) for name, step in steps.items()}
    return {name: str(sha) for name, sha in found.items() if sha is not None}


def refine_frames(
    plan: Stage2Plan, frames: Sequence[Frame], evidence: EvidenceReader, work: Work
) -> None:
    """Write the soft scores of every frame that has none yet."""
    missing = [frame for frame in frames if not score_path(work.run, frame.id).exists()]
    for frame in track(missing, what="refine", unit="frames"):
        work.check_stop()
        pixels = read_frame(frame.path)
        low, probability = evidence(frame.id)
        result = refine(
            pixels,
            at_frame_size(low, *pixels.shape[:2]),
            probability,
            background=plan.background,
            steps=plan.refine.steps,
            frame_id=frame.id,
            cache_dir=work.run.path / "cache",
        )
        write_scores(score_path(work.run, frame.id), result.scores[SMOKE])


def choose_threshold(
    plan: Stage2Plan, cams: FinishedRun, frames: Sequence[Frame], run: RunFolder
) -> ThresholdChoice:
    """Choose the cut by the labels and the scores of the training and validation frames."""
    probability = {row["id"]: float(row["probability"]) for row in cams.frames}
    statistics = EvidenceStatistics()
    for frame in track(frames, what="choose the threshold", unit="frames"):
        if frame.split in ("train", "val"):
            scores = read_scores(score_path(run, frame.id))
            statistics.add(frame.id, scores, label=frame.label, probability=probability[frame.id])
    choice: ThresholdChoice = plan.threshold.choose(statistics)
    write_json(run.path / THRESHOLD, choice.to_dict())
    return choice


def cut_masks(rule: MaskRule, choice: ThresholdChoice, frames: Sequence[Frame], work: Work) -> None:
    """Write the pseudo-mask of every frame that has none yet, from its stored scores."""
    missing = [frame for frame in frames if not mask_path(work.run, frame.id).exists()]
    for frame in track(missing, what="cut masks", unit="frames"):
        work.check_stop()
        scores = read_scores(score_path(work.run, frame.id))
        write_mask(mask_path(work.run, frame.id), rule(scores, choice))


def _rows(frames: Sequence[Frame], cams: FinishedRun, run: RunFolder) -> list[dict[str, str]]:
    earlier = {row["id"]: row for row in cams.frames}
    rows = []
    for frame in frames:
        mask = read_mask_ids(mask_path(run, frame.id))
        smoke = float((mask == SMOKE).mean())
        row = {k: earlier[frame.id][k] for k in ("id", "path", "label", "scene", "split")}
        row |= {"sequence": frame.sequence, "sha256": earlier[frame.id]["sha256"]}
        row |= {
            "probability": earlier[frame.id]["probability"],
            "kept": str(int(smoke > 0 or frame.label == 0)),
            "smoke_share": f"{smoke:.6f}",
            "ignored_share": f"{float((mask == IGNORE).mean()):.6f}",
        }
        rows.append(row)
    write_frames(run.frames_csv, rows)
    return rows


def summarise(rows: Sequence[Mapping[str, str]], choice: ThresholdChoice) -> dict[str, Any]:
    """Describe the pseudo-masks by what image labels can tell."""
    figures: dict[str, Any] = {"threshold": choice.threshold, "threshold_rule": choice.rule}
    for split in sorted({row["split"] for row in rows}):
        for label, name in ((1, "smoke"), (0, "smoke_free")):
            group = [r for r in rows if r["split"] == split and int(r["label"]) == label]
            if group:
                shares = np.array([float(row["smoke_share"]) for row in group])
                figures[f"{split}/{name}_frames"] = len(group)
                figures[f"{split}/{name}_frames_with_mask"] = float((shares > 0).mean())
                figures[f"{split}/{name}_mean_share"] = float(shares.mean())
    return figures

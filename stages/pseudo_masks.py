"""Stage 2: refine evidence, choose a threshold without masks, cut pseudo-masks."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weakseg.artifacts import (
    FinishedRun,
    RunFolder,
    read_mask_ids,
    write_frames,
    write_json,
)
from weakseg.labels import IGNORE, SMOKE
from weakseg.plans import Stage2Plan
from weakseg.refine import ThresholdChoice
from weakseg.stages.evidence import check_ensemble, ensemble_inputs
from weakseg.stages.pages.pseudo_masks import overlay_sheet, pseudo_masks_page
from weakseg.stages.refinement.consistency import initial_weights, student_cams, student_figures
from weakseg.stages.refinement.cutting import choose_threshold, cut_masks
from weakseg.stages.refinement.frames import refine_frames, write_stand_ins
from weakseg.stages.refinement.looking import Looker, check_looks, method_of
from weakseg.stages.refinement.self_training import starting_weights, train_rounds
from weakseg.stages.scores import THRESHOLD, mask_path
from weakseg.stages.showing import show
from weakseg.stages.work import at_work, find_run, frames_of, settle_hardware

log = logging.getLogger(__name__)


def run(plan: Stage2Plan, config: Mapping[str, Any]) -> Path:
    """Run stage 2 as `plan` says; give its run folder."""
    device = settle_hardware(plan.hardware, seed=plan.seed)
    cams = teacher = find_run(plan.cams, kind="stage1", beside=plan.output)
    frames = frames_of(cams)
    inputs = {"frames": cams.manifest.inputs["frames"], "stage1": cams.manifest.fingerprint}
    inputs |= {f"weights of {name}": sha for name, sha in _weights(plan.refine.steps).items()}
    ensemble = [find_run(other, kind="stage1", beside=plan.output) for other in plan.ensemble]
    # A student takes the place of `cams`, which may then stand beside it.
    check_ensemble(ensemble if plan.consistency.mode != "none" else [cams, *ensemble])
    inputs |= ensemble_inputs(ensemble)
    inputs |= initial_weights(plan, cams)
    inputs |= _looks(plan, cams, device)
    inputs |= starting_weights(plan, teacher)
    with at_work(plan, config, kind="stage2", inputs=inputs, data=cams.manifest.data) as work:
        if not work.run.is_complete:
            started = time.monotonic()
            if plan.consistency.mode != "none":
                cams = student_cams(plan, cams, config, work)
            write_json(work.run.path / "inputs.json", {"stage1": str(cams.path.resolve())})
            precision = plan.hardware.precision
            looker = Looker(cams, device, ensemble=ensemble, precision=precision)
            tally = refine_frames(plan, frames, looker, work)
            known = [frame for frame in frames if frame.id not in tally.failed]
            probability = {frame.id: looker.evidence(frame.id)[1] for frame in frames}
            choice = choose_threshold(plan.threshold, known, probability, work.run)
            cut_masks(plan.masks, choice, known, work.run, work)
            rounds: dict[str, Any] = {}
            if plan.rounds:
                choice, rounds = train_rounds(
                    plan, known, choice, work, probability=probability, start=teacher
                )
            write_stand_ins(tally.failed.values(), work.run)
            rows = _rows(cams, probability, work.run, tally.failed)
            summary = summarise(rows, choice) | tally.figures(len(frames))
            if plan.consistency.mode != "none":
                summary |= student_figures(cams)
            summary |= rounds | {"seconds": time.monotonic() - started}
            show(
                work,
                rows,
                {"pseudo-mask": lambda row, *_: read_mask_ids(mask_path(work.run, row["id"]))},
                count=plan.report_frames,
                files=("masks", "frames.csv", THRESHOLD),
                made_of=[teacher.path, *(other.path for other in ensemble)],
            )
            work.tracker.finish(summary, "finished")
            overlay_sheet(work.run, rows, 2 * plan.report_frames)
            pseudo_masks_page(
                work.run,
                rows,
                evidence=looker.evidence,
                summary=summary,
                count=plan.report_frames,
                config=config,
            )
            work.run.finish(summary)
            log.info("threshold %.3f by %s", choice.threshold, choice.rule)
            log.info("report: %s", work.run.report_path)
        return work.run.path


def _looks(plan: Stage2Plan, cams: FinishedRun, device: torch.device) -> dict[str, str]:
    """Check the steps that look again against what makes the CAMs; give what counts for them."""
    has_student = plan.consistency.mode != "none"
    return check_looks(
        plan.refine.steps,
        method=plan.consistency.cam.method if has_student else method_of(cams),
        source="the student" if has_student else str(cams.path),
        precision=plan.hardware.precision,
        device=device,
    )


def _weights(steps: Mapping[str, Any]) -> dict[str, str]:
    """Give the hash of the weights of every step that has some."""
    found = {name: getattr(step, "weights_sha256", None) for name, step in steps.items()}
    return {name: str(sha) for name, sha in found.items() if sha is not None}


def _rows(
    cams: FinishedRun, probability: Mapping[str, float], run: RunFolder, failed: Container[str]
) -> list[dict[str, str]]:
    """Write one line for each frame, in the order of the stage-1 run."""
    rows = []
    for earlier in cams.frames:
        name = earlier["id"]
        mask = read_mask_ids(mask_path(run, name))
        smoke = float((mask == SMOKE).mean())
        kept = (smoke > 0 or int(earlier["label"]) == 0) and name not in failed
        columns = ("id", "path", "label", "scene", "split", "sequence", "sha256")
        row = {column: earlier[column] for column in columns}
        row |= {
            "probability": f"{probability[name]:.6g}",
            "kept": str(int(kept)),
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

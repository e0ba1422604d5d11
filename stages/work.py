"""Open what every stage works in: run folder, tracker, stop flag; and close it whole."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from weakseg.artifacts import FinishedRun, RunFolder, latest_run, load_run, roots_beside
from weakseg.data import Frame, dataset_fingerprint
from weakseg.errors import ArtifactError, DataError
from weakseg.plans import HardwarePlan, RunPlan, SupervisionPlan
from weakseg.tracking import Tracker
from weakseg.training import Interrupted, StopFlag

log = logging.getLogger(__name__)

# What cannot change the products. Frames and weights count by their content, not their names.
_NOT_SETTINGS: Final = {
    "cache",
    "cams",
    "data",
    "ensemble",
    "hardware",
    "output",
    "overwrite",
    "pseudo_masks",
    "report_frames",
    "sam_checkpoint",
    "shared",
    "tracker",
    "tracking",
    "trained",
}
_NOT_SETTINGS_ANYWHERE: Final = {
    "threads",
    "accelerator",
    "checkpoint",
    "checkpoint_seconds",
    "device",
    "encoder_weights",
    "log_every",
    "weights",
    "workers",
}


@dataclass(frozen=True)
class Work:
    """A stage at work."""

    run: RunFolder
    tracker: Tracker
    stop: StopFlag

    def log_row(self, row: Mapping[str, float | int | str], step: int) -> None:
        """Pass a row of figures on to the tracker; metrics.jsonl has it already."""
        self.tracker.log(row, step)

    def check_stop(self) -> None:
        """Raise Interrupted if somebody asked to stop; everything finished so far is on disk."""
        if self.stop.is_set:
            raise Interrupted(
                f"stopped by {self.stop.reason}: run the same command again to go on from there"
            )


@contextmanager
def at_work(
    plan: RunPlan,
    config: Mapping[str, Any],
    *,
    kind: str,
    inputs: Mapping[str, str],
    data: Mapping[str, Any],
) -> Iterator[Work]:
    """Open or resume the run folder of `plan`, with signals and tracker in hand.

    However the block ends, the folder says how far it came and the tracker is closed.
    """
    with RunFolder.open(
        plan.output,
        kind=kind,
        config=config,
        settings=what_counts(config),
        inputs=inputs,
        data=data,
        overwrite=plan.overwrite,
    ) as run:
        log.info("%s in %s%s", kind, run.path, " is complete" if run.is_complete else "")
        if run.is_complete:
            log.info("nothing left to do; report: %s", run.report_path)
        tracker: Tracker = plan.tracker
        with StopFlag() as stop:
            if not run.is_complete:
                tracker.start(
                    run.path,
                    name=plan.tracking.name or f"{kind}-{Path(plan.output).name}",
                    group=plan.tracking.group or None,
                    job_type=kind,
                    config=dict(config),
                )
            status = "failed"
            try:
                yield Work(run, tracker, stop)
                status = "finished"
            except Interrupted:
                status = "interrupted"
                raise
            finally:
                if status != "finished":
                    tracker.finish({}, status)


def what_counts(config: Mapping[str, Any]) -> dict[str, Any]:
    """Reduce a resolved configuration to the settings that change the products."""
    top = {key: value for key, value in config.items() if key not in _NOT_SETTINGS}
    if not top.get("rounds"):
        # Without a round, how it would train changes nothing.
        top = {key: top[key] for key in top if key not in ("rounds", "self_training")}
    if "supervision" in top:
        top["supervision"] = _without_unused(top["supervision"])
    pruned = _prune(top)
    assert isinstance(pruned, dict)
    return pruned


def _without_unused(supervision: Mapping[str, Any]) -> dict[str, Any]:
    """Keep the mode and what is not off; where real masks lie does not count, but what is in them.

    What is off changes nothing, so that settings to come leave earlier runs as they are.
    """
    off = vars(SupervisionPlan())
    unused = {"masks"}
    if supervision["mode"] == "weak" or supervision["fraction"] == off["fraction"]:
        unused |= {"fraction", "seed"}
    return {
        key: value
        for key, value in supervision.items()
        if key == "mode" or (key not in unused and value != off[key])
    }


def _prune(node: Any) -> Any:
    if isinstance(node, Mapping):
        kept = {k: v for k, v in node.items() if k not in _NOT_SETTINGS_ANYWHERE}
        return {key: _prune(value) for key, value in kept.items()}
    if isinstance(node, Sequence) and not isinstance(node, str):
        return [_prune(item) for item in node]
    return node


def settle_hardware(hardware: HardwarePlan, *, seed: int) -> torch.device:
    """Set torch's threads and seed, and say where networks run."""
    if hardware.threads > 0:
        torch.set_num_threads(hardware.threads)
    torch.manual_seed(seed)
    wants_gpu = hardware.accelerator != "cpu" and torch.cuda.is_available()
    if hardware.accelerator == "gpu" and not wants_gpu:
        raise ArtifactError("hardware.accelerator=gpu, but torch sees none: take auto or cpu")
    return torch.device("cuda" if wants_gpu else "cpu")


def find_run(asked: str, *, kind: str, beside: str) -> FinishedRun:
    """Load the earlier run that was asked for by its folder, or the newest by `latest`."""
    if asked != "latest":
        return load_run(Path(asked), kind=kind)
    root, *then = roots_beside(Path(beside), kind)
    return load_run(latest_run(root, kind, then=then), kind=kind)


def frames_of(run: FinishedRun) -> list[Frame]:
    """Give the frames a finished run was made of, checked to be the same still.

    Raises:
        ArtifactError: If a frame was changed or removed since.
    """
    frames = [frame_of(row) for row in run.frames]
    if dataset_fingerprint(frames) != run.manifest.inputs["frames"]:
        raise ArtifactError(
            f"the frames of {run.path} were changed since it was made: restore them, or run the "
            "earlier stage again with overwrite=true"
        )
    return frames


def frame_of(row: Mapping[str, str]) -> Frame:
    """Give the frame that a row of a run's frames.csv stands for."""
    return Frame(
        id=row["id"],
        path=Path(row["path"]),
        label=int(row["label"]),
        scene=row["scene"],
        split=row["split"],
        sequence=row.get("sequence", ""),
    )


def require_both_labels(frames: Sequence[Frame], split: str) -> None:
    """Raise DataError unless `split` holds frames with smoke and frames without."""
    labels = {frame.label for frame in frames if frame.split == split}
    if labels != {0, 1}:
        found = "only smoke" if labels == {1} else "only smoke-free" if labels else "no"
        raise DataError(
            f"the {split} split holds {found} frames, but both kinds are needed: "
            "check the labels and the splits with `python -m weakseg.check`"
        )

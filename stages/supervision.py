"""Say whose masks stage 3 learns from, and lay them out: the one place that learns from truth.

Everything else that trains takes the masks laid out here and cannot tell whose they are.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import (
    FinishedRun,
    RunPaths,
    fingerprint,
    load_run,
    read_json,
    write_json,
    write_mask,
)
from weakseg.checks import check_at_least, check_in_unit, check_one_of, check_positive
from weakseg.data import (
    Frame,
    FrameSource,
    SegmentationItem,
    dataset_fingerprint,
    read_frame,
    sha256_of,
)
from weakseg.data.labelling import labelled_first
from weakseg.data.mask_names import masks_by_name
from weakseg.data.threads import map_threads
from weakseg.data.truth import instances_of, masks_of, read_mask
from weakseg.errors import DataError
from weakseg.labels import SMOKE
from weakseg.plans import Stage3Plan, SupervisionPlan
from weakseg.stages.doubt import check_doubts, doubt
from weakseg.stages.scores import mask_path
from weakseg.stages.work import Work, find_run, frames_of
from weakseg.training import track

log = logging.getLogger(__name__)

SUPERVISION: Final = "supervision.json"
MODES: Final = ("weak", "full", "mixed")
REAL, PSEUDO, LABEL, NOBODY = "mask", "pseudo-mask", "label", "nobody"


@dataclass(frozen=True)
class Teaching:
    """What stage 3 learns from.

    Args:
        plan: Whose masks.
        frames: Of every split.
        data: Settings of their source.
        pseudo: The stage-2 run whose pseudo-masks teach, or that knows the frames; None without.
        real: Id of each frame whose real mask teaches -> that mask.
        digests: Id of each of those -> SHA-256 of the mask's file, and of its instances' if known.
        instances: Id of each of those whose instances are known -> their PNG.
    """

    plan: SupervisionPlan
    frames: Sequence[Frame]
    data: Mapping[str, Any]
    pseudo: FinishedRun | None
    real: Mapping[str, Path] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    instances: Mapping[str, Path] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, str]:
        """Fingerprints of all that teaches, by name."""
        if self.pseudo is None:
            found = {"frames": dataset_fingerprint(self.frames)}
        else:
            known = self.pseudo.manifest
            found = {"frames": known.inputs["frames"], "stage2": known.fingerprint}
        return found | ({"masks": fingerprint(dict(self.digests))} if self.digests else {})

    @property
    def origins(self) -> list[Path]:
        """Folders of the runs whose masks teach."""
        return [] if self.pseudo is None else [self.pseudo.path]


def open_teaching(plan: Stage3Plan) -> Teaching:
    """Find the frames, the run with their pseudo-masks, and the real masks that may teach.

    With `trained`, nothing is learnt, and so no real mask is looked for.

    Raises:
        ValueError: If settings contradict each other.
        DataError: If real masks are asked for and there are none.
    """
    wanted = plan.supervision
    _check(wanted)
    pseudo, source = _origin(plan)
    frames: Sequence[Frame]
    data: Mapping[str, Any]
    if source is not None:
        frames, data = source.frames(), source.settings()
    else:
        assert pseudo is not None
        frames, data = frames_of(pseudo), pseudo.manifest.data
    if wanted.mode == "weak" or plan.trained is not None:
        return Teaching(wanted, frames, data, pseudo)
    real = _real_masks(wanted, frames, data)
    digests = dict(zip(real, map_threads(sha256_of, real.values()), strict=True))
    # A folder of masks takes the place of the index's, so that its instances are others.
    known = instances_of(data) if wanted.masks is None else {}
    instances = {f.id: known[f.path] for f in frames if f.id in real and f.path in known}
    for name, digest in zip(instances, map_threads(sha256_of, instances.values()), strict=True):
        digests[name] += f" {digest}"
    return Teaching(wanted, frames, data, pseudo, real, digests, instances)


def _check(wanted: SupervisionPlan) -> None:
    check_one_of(MODES, **{"supervision.mode": wanted.mode})
    check_in_unit(**{"supervision.fraction": wanted.fraction})
    check_positive(**{"supervision.fraction": wanted.fraction})
    check_at_least(0, **{"supervision.seed": wanted.seed})
    check_doubts(wanted)


def _origin(plan: Stage3Plan) -> tuple[FinishedRun | None, FrameSource | None]:
    """Find where the frames are known: in a stage-2 run, or in a source of their own."""
    if plan.data is None:
        return find_run(plan.pseudo_masks, kind="stage2", beside=plan.output), None
    if plan.supervision.mode != "full" and plan.trained is None:
        raise ValueError(
            f"supervision={plan.supervision.mode} learns the pseudo-masks of a stage-2 run, which "
            "knows its frames: leave data= out, or take supervision=full"
        )
    if plan.pseudo_masks != "latest":
        raise ValueError("data= and pseudo_masks= both name the frames: leave one of them out")
    source: FrameSource = plan.data
    return None, source


def _real_masks(
    wanted: SupervisionPlan, frames: Sequence[Frame], data: Mapping[str, Any]
) -> dict[str, Path]:
    """Find the real masks of the training frames that are drawn: id -> mask."""
    smoky = [frame for frame in frames if (frame.split, frame.label) == ("train", SMOKE)]
    if wanted.masks is None:
        known = masks_of(data)
    else:
        known = masks_by_name(smoky, Path(wanted.masks), key="supervision.masks")
    able = [frame for frame in smoky if frame.path in known]
    if not able:
        raise DataError(
            f"supervision={wanted.mode} needs real masks of training frames with smoke, and there "
            "are none: give the index a column mask_path, or supervision.masks=FOLDER"
        )
    drawn = labelled_first(able, fraction=wanted.fraction, seed=wanted.seed)
    return {frame.id: known[frame.path] for frame in drawn}


def training_items(teaching: Teaching, work: Work) -> list[SegmentationItem]:
    """List what to learn from, lay its real masks out, and write down who teaches what.

    Raises:
        DataError: If no training frame has a mask of smoke to learn from.
    """
    folder = RunPaths(work.run.path / "supervision")
    shown = _lay_out(teaching, folder, work)
    items, teachers = assign(teaching, folder, shown)
    _refuse_nothing(teaching, items)
    items = doubt(items, teaching.plan, teaching.pseudo, folder, work)
    write_json(work.run.path / SUPERVISION, record(teaching, teachers))
    counts = Counter(teachers.values())
    told = ", ".join(
        f"{counts[who]} by {who}" for who in (REAL, PSEUDO, LABEL, NOBODY) if counts[who]
    )
    log.info("learn from %d frames: %s", len(items), told)
    return items


def assign(
    teaching: Teaching, folder: RunPaths, shown: Collection[str]
) -> tuple[list[SegmentationItem], dict[str, str]]:
    """Give every training frame its teacher.

    A training frame labelled smoke-free is background everywhere, whatever the classifier thought
    and whatever a mask says. A frame labelled smoke teaches its real mask if that was drawn, else
    its pseudo-mask if that may teach, and is left out if the mask is empty: label and mask then
    contradict each other, and where its smoke is, nobody knows. With agreement to a teacher such
    frames come along, all their pixels ignored.

    Args:
        teaching: What there is to learn from.
        folder: Where the real masks are laid out.
        shown: Ids of the frames whose real mask shows smoke.

    Returns:
        The items, and by the ids of their frames who teaches them.
    """
    pseudo = teaching.pseudo if teaching.plan.mode != "full" else None
    kept = {row["id"] for row in pseudo.frames if float(row["smoke_share"]) > 0} if pseudo else ()
    items: list[SegmentationItem] = []
    teachers: dict[str, str] = {}
    for frame in teaching.frames:
        if frame.split != "train":
            continue
        if frame.label != SMOKE:
            teachers[frame.id] = LABEL
            items.append(SegmentationItem(frame, None))
        elif frame.id in shown:
            teachers[frame.id] = REAL
            seen = teaching.instances.get(frame.id)
            own = mask_path(folder, frame.id)
            items.append(SegmentationItem(frame, own, instances_path=seen))
        elif pseudo is not None and frame.id in kept and frame.id not in teaching.real:
            teachers[frame.id] = PSEUDO
            items.append(SegmentationItem(frame, mask_path(pseudo, frame.id), is_noisy=True))
        elif teaching.plan.consistency_weight > 0:
            teachers[frame.id] = NOBODY
            items.append(SegmentationItem(frame, None, is_unlabelled=True))
    return items, teachers


def _lay_out(teaching: Teaching, folder: RunPaths, work: Work) -> set[str]:
    """Write the real masks as ids into the run; give the ids of frames whose mask shows smoke."""
    by_id = {frame.id: frame for frame in teaching.frames}
    shown = set()
    for name, path in track(teaching.real.items(), what="read real masks", unit="masks"):
        work.check_stop()
        height, width = read_frame(by_id[name].path).shape[:2]
        mask = read_mask(path, height=height, width=width)
        if (mask == SMOKE).any():
            shown.add(name)
        if not mask_path(folder, name).exists():
            write_mask(mask_path(folder, name), mask)
    return shown


def _refuse_nothing(teaching: Teaching, items: Sequence[SegmentationItem]) -> None:
    if any(item.mask_path is not None for item in items):
        return
    if teaching.plan.mode == "full":
        raise DataError(
            f"the real masks of all {len(teaching.real)} training frames that were drawn are "
            "empty: correct the masks, or the labels"
        )
    assert teaching.pseudo is not None
    raise DataError(
        f"every pseudo-mask of a training frame in {teaching.pseudo.path} is empty: run stage 2 "
        "with a lower threshold, or train the classifier of stage 1 longer"
    )


def record(teaching: Teaching, teachers: Mapping[str, str]) -> dict[str, Any]:
    """Say who teaches what: counts, and a line for every training frame."""
    smoky = [f for f in teaching.frames if (f.split, f.label) == ("train", SMOKE)]
    real = [f for f in smoky if teachers.get(f.id) == REAL]
    counts = Counter(teachers.values())
    return {
        "mode": teaching.plan.mode,
        "fraction": teaching.plan.fraction if teaching.plan.mode != "weak" else 0.0,
        "seed": teaching.plan.seed,
        "frames_with_mask": counts[REAL],
        "sequences_with_mask": len({(f.scene, f.sequence) for f in real}),
        "scenes_with_mask": len({f.scene for f in real}),
        "frames_with_pseudo_mask": counts[PSEUDO],
        "smoke_free_frames": counts[LABEL],
        "frames_without_labels": counts[NOBODY],
        "smoke_frames_left_out": sum(f.id not in teachers for f in smoky),
        "share_with_mask": len(real) / len(smoky) if smoky else 0.0,
        "frames": [
            {"id": name, "teacher": who, "mask_sha256": teaching.digests.get(name, "")}
            for name, who in teachers.items()
        ],
    }


def supervision_of(run: RunPaths) -> dict[str, Any]:
    """Read who taught a stage-3 run; runs from before it was written down learnt pseudo-masks."""
    path = run.path / SUPERVISION
    return dict(read_json(path)) if path.exists() else {"mode": "weak", "fraction": 0.0}


def inherit(plan: Stage3Plan, folder: RunPaths) -> None:
    """Take over who taught the segmenter that `plan` does not train again."""
    earlier = load_run(Path(str(plan.trained)), kind="stage3")
    write_json(folder.path / SUPERVISION, supervision_of(earlier))

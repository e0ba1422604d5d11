"""Take every frame's evidence through the steps of a recipe, and name the frames that fail.

Steps that learn from all frames (AffinityNet) cut a recipe into phases: the steps before such a
step are done on every frame, it learns from the scores they gave, and the next phase goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.artifacts import RunFolder, read_scores, write_mask, write_scores
from weakseg.data import Frame, read_frame
from weakseg.data.quarantine import Quarantined
from weakseg.errors import DataError
from weakseg.labels import IGNORE, SMOKE
from weakseg.plans import Stage2Plan
from weakseg.refine import AffinityStep, FrameContext, Step
from weakseg.refine.pipeline import FAULTS_OF_A_FRAME, apply_step, no_smoke, shows_smoke
from weakseg.refine.step import scores_of_smoke
from weakseg.stages.refinement.affinity import learn
from weakseg.stages.refinement.looking import Looker
from weakseg.stages.refinement.rounds import ROUNDS
from weakseg.stages.refinement.tally import QUARANTINE, Tally
from weakseg.stages.scores import cache_of, mask_path, score_path
from weakseg.stages.work import Work
from weakseg.training import track

log = logging.getLogger(__name__)

LEARNT: Final = "learnt"

_BATCH: Final = 8


@dataclass(frozen=True)
class Phase:
    """Steps to be taken one after the other, the first of which may have to learn before.

    Args:
        steps: By their keys in the recipe.
        folder: Where the phase's scores lie; None where they are the run's own.
        source: Where those of the phase before lie; None for evidence.
    """

    steps: Mapping[str, Step]
    folder: Path | None
    source: Path | None


def refine_frames(plan: Stage2Plan, frames: Sequence[Frame], looker: Looker, work: Work) -> Tally:
    """Write the soft scores of every frame that has none yet.

    A frame whose picture or step fails is left out and named in `quarantine.csv`; the others go on.

    Raises:
        Interrupted: If somebody asked to stop; what is finished is on disk.
        WeaksegError: What is wrong with the settings rather than with a frame.
    """
    tally = Tally.open(work.run)
    _try_again(tally)
    for phase in phases_of(plan.refine.steps, work.run.path):
        _teach(plan, phase, frames, work)
        try:
            _refine_phase(plan, phase, frames, looker=looker, work=work, tally=tally)
        finally:
            tally.save()
    if tally.failed:
        log.warning(
            "%d of %d frames could not be refined: %s names them and says why",
            len(tally.failed),
            len(frames),
            work.run.path / QUARANTINE,
        )
    return tally


def write_stand_ins(failed: Iterable[Quarantined], run: RunFolder) -> None:
    """Give frames that failed empty scores, and a mask that teaches nothing."""
    for row in failed:
        try:
            size = read_frame(row.path).shape[:2]
        except DataError:
            size = (1, 1)  # Nobody can read it, so nobody compares.
        write_scores(score_path(run, row.id), np.zeros(size, np.float32))
        write_mask(mask_path(run, row.id), np.full(size, IGNORE, np.uint8))


def _try_again(tally: Tally) -> None:
    """Let frames that failed before try again, unless something has been learnt without them."""
    run = tally.run
    is_settled = any((run.path / folder).exists() for folder in (LEARNT, ROUNDS))
    for row in tally.before:
        if is_settled:
            tally.failed[row.id] = row
            continue
        score_path(run, row.id).unlink(missing_ok=True)
        mask_path(run, row.id).unlink(missing_ok=True)


def phases_of(steps: Mapping[str, Step], folder: Path) -> list[Phase]:
    """Cut a recipe before every step that learns."""
    parts: list[dict[str, Step]] = [{}]
    for key, step in steps.items():
        if getattr(step, "learns", False):
            parts.append({})
        parts[-1][key] = step
    places = [folder / "phases" / str(index) for index in range(len(parts) - 1)]
    return [
        Phase(part, place, source)
        for part, place, source in zip(parts, [*places, None], [None, *places], strict=True)
    ]


def _teach(plan: Stage2Plan, phase: Phase, frames: Sequence[Frame], work: Work) -> None:
    """Let the phase's first step learn from the scores of the phase before, if it has to."""
    key, step = next(iter(phase.steps.items()), ("", None))
    source = phase.source
    # A step that learns starts a phase, and every phase but the first follows another.
    if source is None or not isinstance(step, AffinityStep):
        return
    known = [frame for frame in frames if _path(source, frame).exists()]

    def scores_of(frame: Frame) -> ScoreMap:
        return read_scores(_path(source, frame))

    learn(step, known, scores_of, work.run.path / LEARNT / key, work, plan)


def _refine_phase(
    plan: Stage2Plan,
    phase: Phase,
    frames: Sequence[Frame],
    *,
    looker: Looker,
    work: Work,
    tally: Tally,
) -> None:
    """Write the scores of every frame that the phase has not done yet."""
    folder = phase.folder or work.run.scores
    missing = [f for f in frames if f.id not in tally.failed and not _path(folder, f).exists()]
    # Batches only where every step gains by them: they cost memory, and a stop waits for their end.
    size = _BATCH if all(hasattr(step, "many") for step in phase.steps.values()) else 1
    parts = [missing[start : start + size] for start in range(0, len(missing), size)]
    for part in track(parts, what="refine", unit="frames" if size == 1 else f"batches of {size}"):
        work.check_stop()
        batch = _Batch(
            part, plan, phase, looker=looker, cache=cache_of(plan, work.run), tally=tally
        )
        for key, step in phase.steps.items():
            batch.apply(key, step)
        for frame in part:
            if frame.id in batch.scores:
                tally.note(frame.id, batch.notes_of(frame))
                write_scores(_path(folder, frame), batch.scores[frame.id][SMOKE])
    for key in phase.steps:
        if tally.never_worked(key):
            reasons = [row.reason for row in tally.failed.values() if row.reason.startswith(key)]
            raise DataError(f"no frame can be refined: {reasons[0]}")


class _Batch:
    """Some frames on their way through the steps of a phase.

    Args:
        part: The frames; those that fail drop out of `scores`, are told and go into the tally.
        phase: Says where the scores come from.
        looker: Makes evidence.
        cache: Where steps may keep what is costly to compute.
        tally: Gets the times and the failures.
    """

    def __init__(
        self,
        part: Sequence[Frame],
        plan: Stage2Plan,
        phase: Phase,
        *,
        looker: Looker,
        cache: Path,
        tally: Tally,
    ) -> None:
        self.part = part
        self.tally = tally
        self.scores: dict[str, Scores] = {}
        self._pixels: dict[str, FrameArray] = {}
        self._contexts: dict[str, FrameContext] = {}
        started = time.monotonic()
        for frame in part:
            try:
                pixels = read_frame(frame.path)
                context = looker.context(frame, pixels, cache)
                self.scores[frame.id] = _beginning(plan, phase, frame, context)
            except FAULTS_OF_A_FRAME as error:
                self._drop(frame, "read", error)
            else:
                self._pixels[frame.id], self._contexts[frame.id] = pixels, context
                tally.succeed("read")
        tally.spend("read", started)

    def apply(self, key: str, step: Step) -> None:
        """Take the frames that show smoke, and have not failed, through a step."""
        going = [f for f in self.part if f.id in self.scores and shows_smoke(self._contexts[f.id])]
        if not going:
            return
        started = time.monotonic()
        results = apply_step(
            key,
            step,
            [self._pixels[frame.id] for frame in going],
            [self.scores[frame.id] for frame in going],
            [self._contexts[frame.id] for frame in going],
        )
        self.tally.spend(key, started)
        for frame, result in zip(going, results, strict=True):
            if isinstance(result, Exception):
                self._drop(frame, key, result)
            else:
                self.scores[frame.id] = result
                self.tally.succeed(key)

    def notes_of(self, frame: Frame) -> dict[str, float]:
        """Give what the steps have noted of a frame."""
        return self._contexts[frame.id].notes

    def _drop(self, frame: Frame, key: str, error: Exception) -> None:
        self.scores.pop(frame.id, None)
        self.tally.fail(frame, key, error)


def _beginning(plan: Stage2Plan, phase: Phase, frame: Frame, context: FrameContext) -> Scores:
    """Give the scores a phase starts with: the evidence, or what the phase before left."""
    if not shows_smoke(context):
        return no_smoke(*context.evidence.shape)
    if phase.source is not None:
        return scores_of_smoke(read_scores(_path(phase.source, frame)))
    scores: Scores = plan.background(context.evidence)
    return scores


def _path(folder: Path, frame: Frame) -> Path:
    return folder / f"{frame.id}.png"

"""Take every frame's evidence through the steps of a recipe, and name the frames that fail.

Steps that learn from all frames (AffinityNet) cut a recipe into phases: the steps before such a
step are done on every frame, it learns from the scores they gave, and the next phase goes on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from weakseg.arrays import FrameArray, ScoreMap, Scores
from weakseg.artifacts import (
    RunFolder,
    read_json,
    read_scores,
    write_json,
    write_mask,
    write_scores,
)
from weakseg.data import Frame, read_frame
from weakseg.data.quarantine import Quarantined, list_quarantine, write_quarantine
from weakseg.errors import DataError
from weakseg.labels import IGNORE, SMOKE
from weakseg.plans import Stage2Plan
from weakseg.refine import AffinityStep, FrameContext, Step
from weakseg.refine.pipeline import FAULTS_OF_A_FRAME, apply_step, no_smoke, shows_smoke
from weakseg.refine.step import scores_of_smoke
from weakseg.stages.affinity import learn
from weakseg.stages.looking import Looker
from weakseg.stages.scores import SPEED, mask_path, score_path
from weakseg.stages.work import Work
from weakseg.training import track

log = logging.getLogger(__name__)

QUARANTINE: Final = "quarantine.csv"

_BATCH: Final = 8
_ALL_FAIL: Final = 8  # As many failures without one success are no accident of some frames.


@dataclass
class Tally:
    """What refining all frames came to, beside the scores.

    Args:
        seconds: Spent in each step, by its key in the recipe; "read" is reading frames and CAMs.
        frames: How many frames each took.
        failed: The frames that could not be refined, and why.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    failed: dict[str, Quarantined] = field(default_factory=dict)

    def add(self, key: str, started: float, count: int) -> None:
        """Count what a step did since `started`."""
        self.seconds[key] = self.seconds.get(key, 0.0) + time.monotonic() - started
        self.frames[key] = self.frames.get(key, 0) + count

    def figures(self, run: RunFolder) -> dict[str, float]:
        """Give `seconds_per_frame/STEP`, and the count of frames that failed.

        Where a run goes on and no frame is left to refine, the times are those told before.
        """
        told = run.path / SPEED
        if not self.frames and told.exists():
            times = dict(read_json(told))
        else:
            times = {
                f"seconds_per_frame/{key}": self.seconds[key] / count
                for key, count in self.frames.items()
            }
            write_json(told, times)
        return times | {"failed_frames": float(len(self.failed))}


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
    tally = Tally()
    _forget_failures(work.run)
    for phase in phases_of(plan.refine.steps, work.run.path):
        _teach(plan, phase, frames, work)
        _refine_phase(plan, phase, frames, looker=looker, work=work, tally=tally)
    write_quarantine(work.run.path / QUARANTINE, tally.failed.values())
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


def _forget_failures(run: RunFolder) -> None:
    """Let frames that failed before try again: the fault may have been mended."""
    if (run.path / QUARANTINE).exists():
        for row in list_quarantine(run.path / QUARANTINE):
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

    learn(step, known, scores_of, work.run.path / "learnt" / key, work, plan)


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
    done = len(frames) - len(missing)
    for part in track(parts, what="refine", unit="frames" if size == 1 else f"batches of {size}"):
        work.check_stop()
        cache = Path(plan.cache) if plan.cache else work.run.path / "cache"
        batch = _Batch(part, plan, phase, looker=looker, cache=cache, tally=tally)
        for key, step in phase.steps.items():
            batch.apply(key, step)
        for frame in part:
            if frame.id in batch.scores:
                write_scores(_path(folder, frame), batch.scores[frame.id][SMOKE])
                done += 1
        if done == 0 and len(tally.failed) >= _ALL_FAIL:
            raise next(iter(batch.errors.values()))


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
        self.errors: dict[str, Exception] = {}
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
        tally.add("read", started, len(part))

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
        self.tally.add(key, started, len(going))
        for frame, result in zip(going, results, strict=True):
            if isinstance(result, Exception):
                self._drop(frame, key, result)
            else:
                self.scores[frame.id] = result

    def _drop(self, frame: Frame, key: str, error: Exception) -> None:
        self.scores.pop(frame.id, None)
        self.errors[frame.id] = error
        reason = " ".join(f"{key}: {error}".split())
        self.tally.failed[frame.id] = Quarantined(frame.id, str(frame.path), reason)
        log.warning("%s is left out, for it fails: %s", frame.id, reason)


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

"""Load finished runs as input of the next stage, and refuse all others in words."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts.frames import FrameRow, read_frames
from weakseg.artifacts.manifest import COMPLETE, MANIFEST, Manifest
from weakseg.artifacts.paths import RunPaths
from weakseg.errors import ArtifactError

ABLATION: Final = "ablation.json"
"""What tells an ablation's folder, which holds runs of many kinds of settings."""
SWEEP: Final = "sweep.json"
"""The same of a sweep's folder."""
SWEEPS: Final = "sweeps"
"""The folder in which sweeps lie; those of wandb's agents have no file to tell them."""
_DEEPEST: Final = 5
"""How many folders above a run may be a sweep's: `sweeps/NAME/points/POINT/stage2`."""

PRODUCTS: Final[Mapping[str, tuple[str, str]]] = {
    "stage1": ("CAMs", "cams/*.npz"),
    "stage2": ("pseudo-masks", "masks/*.png"),
    "stage3": ("segmenter", ""),
}
"""Kind of run -> what it holds in words, and the files that tell how far it came."""


@dataclass(frozen=True)
class FinishedRun(RunPaths):
    """A complete run: its paths, its record and its frames."""

    manifest: Manifest
    frames: tuple[FrameRow, ...]

    @property
    def fingerprint(self) -> str:
        """What a run made from this one records as its input."""
        return self.manifest.fingerprint

    @property
    def data(self) -> Mapping[str, Any]:
        """Settings of the frame source the run was made of."""
        return self.manifest.data


def load_run(path: Path | str, *, kind: str | None = None) -> FinishedRun:
    """Load the complete run in the folder `path`.

    Args:
        path: The run's folder.
        kind: "stage1", "stage2" or "stage3"; None takes any.

    Raises:
        ArtifactError: If there is no run, an unfinished one, or one of another kind.
    """
    path = Path(path)
    if not path.is_dir():
        raise ArtifactError(f"{path} does not exist: {_make_it(kind)}")
    if not (path / MANIFEST).exists():
        raise ArtifactError(f"{path} is no run folder (it holds no {MANIFEST}): {_make_it(kind)}")
    manifest = Manifest.read(path)
    if kind is not None and manifest.kind != kind:
        raise ArtifactError(
            f"{path} holds {_name(manifest.kind)}, where {_name(kind)} are needed: {_make_it(kind)}"
        )
    run = RunPaths(path)
    if manifest.status != COMPLETE:
        raise ArtifactError(
            f"{path} holds {_name(manifest.kind)}{_progress(run, manifest.kind)}: "
            f"finish it with `python -m weakseg.{manifest.kind}`"
        )
    frames = read_frames(run.frames_csv) if run.frames_csv.exists() else []
    return FinishedRun(path, manifest, tuple(frames))


def latest_run(root: Path | str, kind: str, *, then: Sequence[Path] = ()) -> Path:
    """Find the run of `kind` below `root` that was completed last.

    Runs inside another run's folder are its own affair (the student of a stage-2 run), and so are
    those inside an ablation's or a sweep's: they are taken only by name.

    Args:
        root: Where to look.
        kind: "stage1", "stage2" or "stage3".
        then: Where to look next, one after the other, while there is none.

    Raises:
        ArtifactError: If there is none; the message says what to run, or to finish.
    """
    unfinished: list[Path] = []
    roots = [Path(root), *then]
    for place in roots:
        found: list[tuple[str, Path]] = []
        for manifest_path in sorted(place.rglob(MANIFEST)):
            folder = manifest_path.parent
            manifest = _read_or_none(folder)
            if manifest is None or manifest.kind != kind or _is_nested(folder, place):
                continue
            if manifest.status == COMPLETE:
                found.append((manifest.finished, folder))
            else:
                unfinished.append(folder)
        if found:
            return max(found)[1]
    if unfinished:
        load_run(unfinished[-1], kind=kind)
    told = ", ".join(map(str, roots)) + (" holds" if len(roots) == 1 else " hold")
    raise ArtifactError(
        f"{told} no finished {kind} run (those of sweeps and ablations are taken by name alone): "
        f"{_make_it(kind)}"
    )


def roots_beside(output: Path, kind: str) -> list[Path]:
    """List where to look for the newest run of `kind` on behalf of one in `output`, in turn.

    First comes the folder of the stages' folders: `runs` of `runs/stage2/crf`. As the points of a
    sweep lie deeper, those above it follow, up to the working directory but without it; elsewhere
    only near ones with a folder named after `kind`. A sweep's own folders are passed over.
    """
    above = list(output.parents)
    of_sweep = [i for i, folder in enumerate(above[:_DEEPEST]) if _is_of_sweeps(folder)]
    first = max([0, *of_sweep]) + 1
    usual = [one for one in above[1:2] if first == 1 and not _is_above_us(one)]
    more = [one for one in above[max(first, 2) :] if _may_be_root(one, kind)]
    return [*usual, *more] or [Path("runs")]


def _is_of_sweeps(folder: Path) -> bool:
    marks = (folder / ABLATION, folder / SWEEP)
    return folder.name == SWEEPS or any(mark.exists() for mark in marks)


def _whole(folder: Path) -> Path:
    # Not resolved: `runs` may be a link to a larger disk.
    return Path(os.path.normpath(Path.cwd() / folder))


def _is_above_us(folder: Path) -> bool:
    return _whole(folder) in Path.cwd().parents


def _may_be_root(folder: Path, kind: str) -> bool:
    here, place = Path.cwd(), _whole(folder)
    if place in (here, *here.parents, Path.home()):
        return False
    return here in place.parents or (folder / kind).is_dir()


def _is_nested(folder: Path, root: Path) -> bool:
    """Say whether a run's folder lies in a run's, an ablation's or a sweep's, below `root`."""
    above, marks = folder.relative_to(root).parents, (MANIFEST, ABLATION, SWEEP)
    return any(
        place.name == SWEEPS or any((root / place / name).exists() for name in marks)
        for place in above
    )


def _read_or_none(folder: Path) -> Manifest | None:
    """The record, or None: a file of that name may be anybody's."""
    try:
        return Manifest.read(folder)
    except ArtifactError:
        return None


def _name(kind: str) -> str:
    return f"{kind} {PRODUCTS[kind][0]}" if kind in PRODUCTS else f"a {kind} run"


def _make_it(kind: str | None) -> str:
    if kind is None:
        return "give the folder of a finished run"
    return f"run `python -m weakseg.{kind}` first, or give the folder of a finished {kind} run"


def _progress(run: RunPaths, kind: str) -> str:
    """Tell ", 812 of 1000 frames" where the files say so, else ", unfinished"."""
    pattern = PRODUCTS.get(kind, ("", ""))[1]
    if not pattern or not run.frames_csv.exists():
        return ", unfinished"
    total = len(read_frames(run.frames_csv))
    done = sum(1 for _ in run.path.glob(pattern))
    return f", {min(done, total)} of {total} frames"

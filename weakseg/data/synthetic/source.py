"""Write the synthetic data set once, whole and resumable, and read it as an index."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from weakseg.artifacts.atomic import disk_errors, write_json, write_text
from weakseg.checks import check_at_least
from weakseg.data.assembly import absolute
from weakseg.data.frames import Frame
from weakseg.data.index import IndexSource
from weakseg.data.synthetic.casting import FEWEST_SCENES, SceneCast, cast_scenes
from weakseg.data.synthetic.scenes import Shot, shoot_scene
from weakseg.data.threads import map_threads
from weakseg.errors import DataError

log = logging.getLogger(__name__)

MAKER = 1
"""Raise it when the same settings no longer draw the same bytes."""
SETTINGS_FILE: Final = "synthetic.json"
INDEX_FILE: Final = "index.csv"
# The frames come last: where they are, the scene is whole.
KINDS: Final = (("masks", ".png"), ("opacity", ".png"), ("frames", ".jpg"))
PARTIAL: Final = ".partial-"
SMALLEST_SIDE = 32
COLUMNS: Final = ("path", "label", "scene", "split", "sequence", "mask_path", "opacity_path")

Watch = Callable[[Iterable[str]], Iterable[str]]
"""Wraps the names of the scenes as they are finished, to show progress."""


@dataclass(frozen=True)
class SyntheticSource:
    """Landscapes with plumes, clouds, fog and steam, drawn once into a folder.

    The same settings give the same bytes. A killed run goes on with the next scene. Besides the
    frames there are `index.csv`, exact masks (0 and 255) and the smoke's opacity (0-255).

    Args:
        folder: Where the data set is or will be.
        scenes: How many, at least 6: a sixth each for val and test.
        frames_per_scene: Moments of each scene, at least 1.
        size: Side of the frames in pixels, at least 32.
        seed: Names the data set, at least 0.
        quarantine: CSV of frames to leave out.
    """

    folder: str
    scenes: int = 120
    frames_per_scene: int = 3
    size: int = 192
    seed: int = 0
    quarantine: str | None = None

    def __post_init__(self) -> None:
        check_at_least(FEWEST_SCENES, scenes=self.scenes)
        check_at_least(1, frames_per_scene=self.frames_per_scene)
        check_at_least(SMALLEST_SIDE, size=self.size)
        check_at_least(0, seed=self.seed)

    def frames(self) -> list[Frame]:
        """List the frames, after drawing those that are not there yet."""
        return list(self._frames)

    def settings(self) -> dict[str, Any]:
        """Say how to build this source again."""
        return {
            "kind": "synthetic",
            "folder": str(self.base),
            "scenes": self.scenes,
            "frames_per_scene": self.frames_per_scene,
            "size": self.size,
            "seed": self.seed,
            "quarantine": self.quarantine and str(absolute(Path.cwd(), self.quarantine)),
        }

    @property
    def base(self) -> Path:
        """The folder, as an absolute path."""
        return absolute(Path.cwd(), self.folder)

    def make(self, *, watch: Watch | None = None) -> Path:
        """Draw what is not there yet.

        Args:
            watch: Shows progress over the scenes.

        Returns:
            The data set's index.

        Raises:
            DataError: If the folder holds something else.
            ArtifactError: If the disk refuses.
        """
        index = self.base / INDEX_FILE
        if index.is_file():
            self._claim()
            return index
        with disk_errors(self.base):
            self.base.mkdir(parents=True, exist_ok=True)
        with _alone(self.base):
            self._claim()
            return index if index.is_file() else self._draw(index, watch=watch)

    def _draw(self, index: Path, *, watch: Watch | None) -> Path:
        casts = cast_scenes(
            scenes=self.scenes, frames_per_scene=self.frames_per_scene, seed=self.seed
        )
        log.info("drawing %d synthetic scenes into %s", len(casts), self.base)
        _remove_leftovers(self.base)
        for _ in (watch or iter)(map_threads(self._write_scene, casts)):
            pass
        write_text(index, self._index_text(casts))
        return index

    @cached_property
    def _frames(self) -> tuple[Frame, ...]:
        index = self.make()
        return tuple(IndexSource(str(index), quarantine=self.quarantine).frames())

    def _claim(self) -> None:
        """Leave the settings in the folder, or find the same there."""
        mine = {
            "maker": MAKER,
            "scenes": self.scenes,
            "frames_per_scene": self.frames_per_scene,
            "size": self.size,
            "seed": self.seed,
        }
        record = self.base / SETTINGS_FILE
        if record.is_file():
            _refuse_other_settings(record, mine)
        elif self.base.is_dir() and any(not _is_leftover(path) for path in self.base.iterdir()):
            raise DataError(
                f"{self.base} holds files that are not a synthetic data set: "
                "choose an empty folder for data.folder"
            )
        else:
            write_json(record, mine)

    def _write_scene(self, cast: SceneCast) -> str:
        homes = {kind: self.base / kind / cast.name for kind, _ in KINDS}
        if homes["frames"].is_dir():
            return cast.name
        with disk_errors(self.base):
            self.base.mkdir(parents=True, exist_ok=True)
            shots = shoot_scene(cast, frames=self.frames_per_scene, size=self.size, seed=self.seed)
            with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=self.base) as drafts:
                _write_shots(Path(drafts), shots)
                for kind, home in homes.items():
                    home.parent.mkdir(exist_ok=True)
                    shutil.rmtree(home, ignore_errors=True)
                    os.replace(Path(drafts) / kind, home)  # noqa: PTH105 - must be atomic
        return cast.name

    def _index_text(self, casts: list[SceneCast]) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow((*COLUMNS, "has_chimney"))
        for cast in casts:
            for number in range(self.frames_per_scene):
                mask, opacity, frame = (
                    f"{kind}/{cast.name}/{number:03d}{suffix}" for kind, suffix in KINDS
                )
                label = cast.label(number)
                row = (frame, label, cast.name, cast.split, cast.name, mask, opacity)
                writer.writerow((*row, int(cast.has_chimney)))
        return text.getvalue()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from drawing into a folder: they wait, and find it drawn."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:  # Some network disks know no locks.
            log.warning("%s cannot be locked (%s): let one command draw at a time", folder, error)
        yield
    finally:
        os.close(descriptor)


def _write_shots(drafts: Path, shots: Iterator[Shot]) -> None:
    for kind, _ in KINDS:
        (drafts / kind).mkdir()
    for number, shot in enumerate(shots):
        bgr = np.ascontiguousarray(shot.frame[..., ::-1])
        opacity = np.round(shot.opacity * 255).astype(np.uint8)
        quality = [cv2.IMWRITE_JPEG_QUALITY, shot.jpeg_quality]
        for kind, suffix, pixels, options in (
            ("masks", ".png", shot.mask * np.uint8(255), []),
            ("opacity", ".png", opacity, []),
            ("frames", ".jpg", bgr, quality),
        ):
            encoded = cv2.imencode(suffix, pixels, options)[1]
            (drafts / kind / f"{number:03d}{suffix}").write_bytes(encoded.tobytes())


def _refuse_other_settings(record: Path, mine: dict[str, int]) -> None:
    try:
        theirs = json.loads(record.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{record} is damaged: delete its folder to draw it again") from error
    other = [name for name in mine if theirs.get(name) != mine[name]]
    if other:
        told = ", ".join(f"{name} {theirs.get(name)} and not {mine[name]}" for name in other)
        raise DataError(
            f"{record.parent} was drawn with {told}: choose another data.folder or delete this one"
        )


def _remove_leftovers(base: Path) -> None:
    """Delete what a killed run left half done."""
    for path in filter(_is_leftover, base.iterdir()):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(PARTIAL)

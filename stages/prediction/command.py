"""Segment new pictures, videos and camera streams with a finished stage-3 run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import numpy as np

from weakseg.arrays import FrameArray
from weakseg.artifacts import write_scores
from weakseg.artifacts.pictures import write_picture
from weakseg.data import read_frame
from weakseg.data.containers import is_url, is_video, videos_in
from weakseg.data.folders import pictures_in
from weakseg.errors import DataError
from weakseg.plans import PredictPlan
from weakseg.report import overlay
from weakseg.stages.prediction.alarms import AlarmList
from weakseg.stages.prediction.rows import TABLE, RowFiles, rounded
from weakseg.stages.prediction.settings import claim, settings_of
from weakseg.stages.prediction.video import VideoWork, predict_stream, predict_video
from weakseg.stages.predictor import Prediction, load_predictor
from weakseg.training import Interrupted, StopFlag, track

log = logging.getLogger(__name__)

COLUMNS: Final = ("image", "smoke_probability", "smoke_share")


def run(plan: PredictPlan, config: Mapping[str, Any]) -> Path:
    """Segment what `plan.source` holds; give the output folder, or the table of the pictures.

    What an earlier command did of pictures and videos, with the same settings, is not done again.
    A picture or video that cannot be read is named and left out, and the rest goes on; the tables
    of those that could are written before the error is raised.
    """
    is_stream, output = is_url(plan.source), Path(plan.output)
    pictures, videos = ([], []) if is_stream else find_sources(Path(plan.source), output)
    if plan.pictures is not False:
        check_names(pictures)
    predictor = load_predictor(
        plan.run,
        cut=plan.cut,
        tile=plan.tile,
        overlap=plan.overlap,
        flip=plan.flip,
        hardware=plan.hardware,
    )
    is_same = claim(output, settings_of(plan, predictor), overwrite=plan.overwrite)
    with StopFlag() as stop:
        work = VideoWork(plan, predictor, output, AlarmList(output), stop, is_same)
        if is_stream:
            return predict_stream(plan.source, work)
        unread = predict_pictures(pictures, work) if pictures else []
        damaged = predict_videos(videos, work)
    if unread:
        raise DataError(
            f"{len(unread)} of {len(pictures)} images could not be read, the first is {unread[0]}: "
            "repair or remove them; the others are done"
        )
    if damaged:
        raise DataError(
            f"{len(damaged)} of {len(videos)} videos could not be read to the end, the first: "
            f"{damaged[0]}"
        )
    return output / TABLE if pictures else output


def find_sources(source: Path, output: Path) -> tuple[Sequence[Path], Sequence[Path]]:
    """List the pictures and the videos of a folder and its sub-folders, or the one there is.

    What lies in the output folder is left out.
    """
    if source.is_file():
        return ([], [source]) if is_video(source) else ([source], [])
    wanted = "source= takes an image, a video, a folder of them, or the URL of a stream"
    if not source.is_dir():
        raise DataError(f"{source} does not exist: {wanted}")
    if (made := output.resolve()) == source.resolve():
        raise DataError(
            f"{source} is both source and output: choose another output, it may lie in it"
        )
    is_made = made.is_relative_to(source.resolve())
    pictures, videos = (
        [path for path in paths if not (is_made and path.resolve().is_relative_to(made))]
        for paths in (pictures_in(source), videos_in(source))
    )
    if not pictures and not videos:
        raise DataError(f"{source} holds no pictures and no videos: {wanted}")
    return pictures, videos


def check_names(pictures: Sequence[Path]) -> None:
    """Refuse pictures whose masks would have one name."""
    known: dict[Path, Path] = {}
    for picture in pictures:
        other = known.setdefault(picture.with_suffix(""), picture)
        if other is not picture:
            raise DataError(
                f"{other} and {picture.name} would have one mask: rename one of them, or ask for "
                "the table alone with pictures=false"
            )


def predict_videos(videos: Sequence[Path], work: VideoWork) -> list[str]:
    """Segment videos one after the other; give what was wrong with some."""
    base = _base(work.plan)
    complaints = []
    for video in videos:
        complaints.append(predict_video(video, video.relative_to(base).as_posix(), work))
        if work.stop.is_set:
            raise Interrupted(
                f"stopped by {work.stop.reason} in {video}: the same command goes on from there"
            )
    return [complaint for complaint in complaints if complaint]


def predict_pictures(pictures: Sequence[Path], work: VideoWork) -> list[Path]:
    """Segment those pictures that are not done yet; give those that cannot be read."""
    base, output, unread = _base(work.plan), work.output, []
    with closing(RowFiles(output, COLUMNS)) as files:
        done = _done(pictures, files, work) if work.is_same else {}
        files.start(list(done.values()))
        left = [picture for picture in pictures if picture not in done]
        for picture in track(left, what="segment", unit="images"):
            if work.stop.is_set:
                break
            try:
                frame = read_frame(picture, max_pixels=work.plan.max_pixels)
                work.predictor.check_size(frame, name=str(picture), max_pixels=work.plan.max_pixels)
            except DataError as error:
                log.warning("%s", error)
                unread.append(picture)
                continue
            found = work.predictor(frame)
            image = picture.relative_to(base)
            if work.plan.pictures is not False:
                save(output, image.with_suffix(""), frame, found)
            done[picture] = row(image, picture, found)
            files.append(done[picture])
        # In the order of their names, whichever were done first.
        files.start([done[picture] for picture in pictures if picture in done])
    log.info("%d of %d images segmented: %s", len(done), len(pictures), output / TABLE)
    if work.stop.is_set:
        raise Interrupted(
            f"stopped by {work.stop.reason} after {len(done)} of {len(pictures)} images: the same "
            "command goes on from there"
        )
    return unread


def save(output: Path, name: Path, frame: FrameArray, found: Prediction) -> None:
    """Write a picture's mask (0/255), soft scores and overlay, each into a folder of its own."""
    write_scores(output / "masks" / f"{name}.png", found.mask.astype(np.float32))
    write_scores(output / "scores" / f"{name}.png", found.scores)
    write_picture(output / "overlays" / f"{name}.jpg", overlay(frame, found.mask))


def row(image: Path, picture: Path, found: Prediction) -> dict[str, Any]:
    """Sum a picture up, with what tells whether the file is still the same."""
    facts = picture.stat()
    return {
        **rounded(
            {
                "image": image.as_posix(),
                "smoke_probability": found.probability,
                "smoke_share": found.share,
            }
        ),
        "bytes": facts.st_size,
        "modified": facts.st_mtime,
    }


def _done(pictures: Sequence[Path], files: RowFiles, work: VideoWork) -> dict[Path, dict[str, Any]]:
    """Give the rows of pictures that are as they were, with all that is to be written of them."""
    base, known = _base(work.plan), {row["image"]: row for row in files.read()}
    done = {}
    for picture in pictures:
        image = picture.relative_to(base)
        facts, was = picture.stat(), known.get(image.as_posix(), {})
        is_same = (was.get("bytes"), was.get("modified")) == (facts.st_size, facts.st_mtime)
        # The overlay is the last that is written.
        last = work.output / "overlays" / f"{image.with_suffix('')}.jpg"
        if is_same and (work.plan.pictures is False or last.exists()):
            done[picture] = was
    return done


def _base(plan: PredictPlan) -> Path:
    source = Path(plan.source)
    return source if source.is_dir() else source.parent

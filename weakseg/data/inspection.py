"""Look at one file at a time, and say what is wrong with it and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from weakseg.checks import check_one_of
from weakseg.data.fingerprints import sha256_of
from weakseg.data.frames import Frame
from weakseg.data.hashing import SIDE, Hashes, perceptual_hash
from weakseg.data.reading import ImageFacts, read_facts, read_frame
from weakseg.errors import DataError

LEVELS: Final = ("error", "warning", "info")
UPRIGHT = 1
SMALLEST_SIDE = 32
FLAT_LEVELS = 1.0
SUFFIXES_OF: Final = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
}

UNREADABLE_TOPICS: Final = {
    "empty": "zero-byte",
    "truncated": "truncated",
    "above the limit": "too large",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Args:
        level: "error" (the stages would stop or learn nonsense), "warning" or "info".
        topic: A short name that findings of one kind share.
        path: The file, or empty for the data set as a whole.
        what: What is the case, in words.
        advice: What to do about it.
        id: The frame's id, or empty.
    """

    level: str
    topic: str
    path: str
    what: str
    advice: str
    id: str = ""

    def __post_init__(self) -> None:
        check_one_of(LEVELS, level=self.level)


@dataclass(frozen=True)
class Inspected:
    """What the inspection of one frame gave.

    Args:
        frame: The frame.
        findings: What was found.
        sha256: Of the file; empty if it cannot be read.
        hash: (4,) uint64 perceptual hash, or None if the pixels cannot be read.
        height: Of the upright frame, in pixels; 0 if unknown.
        width: Of the upright frame, in pixels; 0 if unknown.
    """

    frame: Frame
    findings: tuple[Finding, ...]
    sha256: str = ""
    hash: Hashes | None = None
    height: int = 0
    width: int = 0


def inspect_frame(frame: Frame, *, max_pixels: int) -> Inspected:
    """Read one frame in full and judge it.

    Args:
        frame: The frame.
        max_pixels: Larger pictures are an error.
    """
    try:
        facts = read_facts(frame.path, max_pixels=max_pixels)
        pixels = read_frame(frame.path, max_pixels=max_pixels)
        digest = sha256_of(frame.path)
    except DataError as error:
        return Inspected(frame, (_unreadable(frame, error),))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    resized = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small = np.asarray(resized, dtype=np.uint8)
    findings = [*_oddities(frame, facts)]
    if float(pixels.std()) < FLAT_LEVELS:
        findings.append(
            _found(frame, "warning", "flat", "is of one colour", "see if it is a frame")
        )
    height, width = grey.shape
    return Inspected(frame, tuple(findings), digest, perceptual_hash(small), height, width)


def _unreadable(frame: Frame, error: DataError) -> Finding:
    what = str(error).removeprefix(f"{frame.path} ").split(":")[0]
    topic = next((topic for word, topic in UNREADABLE_TOPICS.items() if word in what), "unreadable")
    return _found(frame, "error", topic, what, "copy it again, or leave it in the quarantine")


def _oddities(frame: Frame, facts: ImageFacts) -> Iterator[Finding]:
    """Tell what the reader takes care of, so that nobody is surprised by it elsewhere."""
    nothing = "nothing: it is read correctly here, though not by every program"
    if facts.orientation != UPRIGHT:
        what = f"is stored turned (EXIF orientation {facts.orientation})"
        advice = "draw its mask on the upright picture; else nothing"
        yield _found(frame, "info", "EXIF-rotated", what, advice)
    if facts.bits > 8:
        what = f"has {facts.bits} bits a channel, scaled to 8"
        advice = "see that it is not dark: 10 or 12 bits stored in 16 come out dark"
        yield _found(frame, "warning", "16-bit", what, advice)
    if facts.mode in ("P", "PA"):
        yield _found(frame, "info", "palette", "has a palette", nothing)
    if facts.mode == "CMYK":
        what = "has printing colours (CMYK), converted without their profile"
        yield _found(frame, "warning", "CMYK", what, "save it as RGB if its colours look wrong")
    if facts.has_alpha:
        what = "has transparency, laid over black"
        yield _found(frame, "info", "transparent", what, "nothing, unless black areas disturb")
    if frame.path.suffix.lower() not in SUFFIXES_OF.get(facts.kind, (frame.path.suffix.lower(),)):
        what = f"is a {facts.kind} file by its content"
        yield _found(frame, "info", "misnamed", what, nothing)
    if min(facts.width, facts.height) < SMALLEST_SIDE:
        what = f"has only {facts.width}x{facts.height} pixels"
        yield _found(frame, "warning", "tiny", what, "see if it is a thumbnail by mistake")


def _found(frame: Frame, level: str, topic: str, what: str, advice: str) -> Finding:
    return Finding(level, topic, str(frame.path), what, advice, frame.id)

"""Look at the frames together: copies, contradictions, leaks between splits, balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from weakseg.data.frames import Frame
from weakseg.data.hashing import BITS, near_pairs
from weakseg.data.inspection import Finding, Inspected
from weakseg.data.splits import straddling_scenes
from weakseg.labels import CLASS_NAMES

RARE_SHARE = 0.1
LEARNT_FROM = frozenset(("train", "val"))
"""Two test splits may share scenes: nothing leaks from one to the other."""
Balance = dict[str, tuple[int, int]]
"""Split to the numbers of frames without and with smoke."""


def balance_of(frames: Sequence[Frame]) -> Balance:
    """Count labels by split, in the order train, val, test, others."""
    counts = Counter((frame.split, frame.label) for frame in frames)
    known = ("train", "val", "test")
    found = {frame.split for frame in frames}
    splits = [*(s for s in known if s in found), *sorted(found.difference(known))]
    return {split: (counts[split, 0], counts[split, 1]) for split in splits}


def compare_labels(balance: Balance) -> Iterator[Finding]:
    """Find splits of one class only, and rare classes in training."""
    for split, counts in balance.items():
        absent = [CLASS_NAMES[label] for label in (0, 1) if counts[label] == 0]
        if absent:
            level = "error" if split == "train" else "warning"
            what = f"split {split} has {sum(counts)} frames and none is labelled {absent[0]}"
            yield Finding(level, "one class only", "", what, "add frames of the other label")
        elif split == "train" and min(counts) < RARE_SHARE * sum(counts):
            what = f"training has {counts[0]} frames without smoke and {counts[1]} with smoke"
            advice = "keep the class balance on, and add frames of the rarer label if you can"
            yield Finding("warning", "class balance", "", what, advice)


def compare_ids(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Find ids that stand for more than one frame: their products would overwrite each other."""
    times = Counter(frame.id.casefold() for frame in frames)
    for frame in frames:
        if times[frame.id.casefold()] > 1:
            what = f"shares its id {frame.id} with another frame"
            yield Finding(
                "error", "duplicated id", str(frame.path), what, "rename one of them", frame.id
            )


def compare_scenes(frames: Sequence[Frame]) -> Iterator[Finding]:
    """Find scenes that something is learnt from and that lie in another split too."""
    for scene, splits in sorted(straddling_scenes(frames).items()):
        if not LEARNT_FROM.intersection(splits):
            continue
        what = f"scene {scene} lies in the splits {' and '.join(splits)}"
        advice = "move it to one of them: figures on the others will be too good"
        yield Finding("warning", "scene in several splits", "", what, advice)


def compare_contents(inspected: Sequence[Inspected], *, bits: int) -> Iterator[Finding]:
    """Find copies and near-duplicates that contradict each other or leak between splits.

    Args:
        inspected: All frames.
        bits: How many of 256 bits of their perceptual hashes near-duplicates may differ by.
    """
    readable = [one for one in inspected if one.hash is not None]
    if not readable:
        return
    hashes = np.stack([one.hash for one in readable if one.hash is not None])
    for i, j, distance in near_pairs(hashes, bits=bits):
        yield from _compare_pair(readable[i], readable[j], distance)


def _compare_pair(one: Inspected, other: Inspected, distance: int) -> Iterator[Finding]:
    is_copy = one.sha256 == other.sha256
    word = "is a copy of" if is_copy else f"looks like ({distance} of {BITS} bits)"
    if one.frame.label != other.frame.label:
        level = "error" if is_copy else "warning"
        advice = "look at both and correct the wrong label"
        for frame, twin in ((one.frame, other.frame), (other.frame, one.frame)):
            what = f"{word} {twin.path} but is labelled {CLASS_NAMES[frame.label]}"
            yield _found(frame, level, "label conflict", what, advice)
    splits = {one.frame.split, other.frame.split}
    if len(splits) > 1 and LEARNT_FROM & splits:
        # What is quarantined is the copy to learn from, never the one to be measured on.
        frame, twin = sorted((one.frame, other.frame), key=_use)
        what = f"{word} {twin.path}, but is in {frame.split} and that in {twin.split}"
        topic = "copy in another split" if is_copy else "near-duplicate in another split"
        advice = "keep both in one split: figures will be too good"
        yield _found(frame, "error" if is_copy else "warning", topic, what, advice)
    elif is_copy and len(splits) == 1 and one.frame.label == other.frame.label:
        what = f"{word} {other.frame.path}"
        yield _found(one.frame, "info", "copy", what, "nothing, or delete one of them")


def _use(frame: Frame) -> int:
    """Rank what a frame is used for: training, choosing, measuring."""
    return {"train": 0, "val": 1}.get(frame.split, 2)


def _found(frame: Frame, level: str, topic: str, what: str, advice: str) -> Finding:
    return Finding(level, topic, str(frame.path), what, advice, frame.id)

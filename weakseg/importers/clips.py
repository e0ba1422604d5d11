"""Read lists of labelled video clips, as RISE and IJmond release them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weakseg.data.containers import VIDEO_SUFFIXES
from weakseg.errors import DataError
from weakseg.importers.files import (
    annotation_files,
    base_of,
    looks_like,
    read_export_json,
    refuse_foreign,
)
from weakseg.importers.names import Place
from weakseg.importers.records import Clip, Export, Skipped

BAD: Final = -2
BY_RESEARCHERS: Final = {47: 1, 32: 0, 23: 1, 16: 0}
BY_CITIZENS: Final = {23: 1, 19: 1, 16: 0, 20: 0}
_PLAIN: Final = re.compile(r"[\w.+-]+")


def label_of(entry: Mapping[str, Any]) -> int | None:
    """Settle a clip's label by its states.

    The researchers' word comes first (`label_state_admin`: 47 and 32 are their gold standard, 23
    and 16 strong), else the citizens' counts (`label_state`: 23 and 16 where two agree, 19 and 20
    where a third decided). Everything else, such as 5, 4 and 3 (one answer, or two that differ)
    and -1, leaves it undecided.

    Args:
        entry: A clip of the list; one of the released splits may carry `label` alone.

    Returns:
        1 with smoke, 0 without, None if undecided.

    References:
        `aggregate_label` in CMU-CREATE-Lab/deep-smoke-machine, `split_metadata.py`; the states in
        MultiX-Amsterdam/ijmond-camera-monitor, `dataset/2024-01-22/README.md`.
    """
    if "label_state" not in entry and "label_state_admin" not in entry:
        label = entry.get("label")
        return label if label in (0, 1) else None
    researchers = BY_RESEARCHERS.get(_state(entry, "label_state_admin"))
    return BY_CITIZENS.get(_state(entry, "label_state")) if researchers is None else researchers


def read_clips(
    source: Path,
    lists: Mapping[Path, str],
    *,
    place: Callable[[Mapping[str, Any]], Place],
    rate: float,
) -> Export:
    """Match the clips of some lists with the videos that were downloaded.

    Args:
        source: As given; videos are looked for in its folder and below.
        lists: List file to the split of its clips, which may be empty.
        place: Says scene and camera of an entry.
        rate: Frames a second to take.

    Raises:
        DataError: If a list is damaged or holds something else.
    """
    base = base_of(source)
    videos = {
        path.stem: path
        for path in sorted(base.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
    }
    clips: dict[str, Clip] = {}
    skipped: list[Skipped] = []
    for file, split in lists.items():
        for name, entry in _entries(file):
            reason = _reason_to_skip(name, entry, videos) or (
                "clip listed again" if name in clips else ""
            )
            label = label_of(entry)
            if reason or label is None:
                skipped.append(Skipped("clip", name, reason or "label undecided"))
                continue
            where = place(entry)
            clips[name] = Clip(name, videos[name], label, split, where.scene, where.camera)
    files = tuple(path.relative_to(base).as_posix() for path in lists)
    return Export(files, clips=tuple(clips.values()), skipped=tuple(skipped), rate=rate)


def clip_lists(source: Path, wanted: str, *, leave: str = r"_split_") -> list[Path]:
    """Find the one list of clips in a source.

    Args:
        source: A folder, or the list itself.
        wanted: The format's name, for messages.
        leave: Lists with such names do not count.

    Raises:
        DataError: If there is none, or several.
    """
    files = [path for path in annotation_files(source) if not re.search(leave, path.name)]
    looks = {path: looks_like(read_export_json(path)) for path in files}
    found = [path for path, kind in looks.items() if kind.startswith("rise")]
    if not found:
        raise refuse_foreign(source, wanted, {path.name: kind for path, kind in looks.items()})
    if len(found) > 1:
        named = ", ".join(path.name for path in found[:4])
        raise DataError(f"{source} holds several lists of clips ({named}): give one as source")
    return found


def _entries(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    content = read_export_json(file)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{file} is no list of clips: download it again")
    yield from ((str(entry.get("file_name")), entry) for entry in content)


def _reason_to_skip(name: str, entry: Mapping[str, Any], videos: Mapping[str, Path]) -> str:
    if not _PLAIN.fullmatch(name):
        return "file name that is a path"
    if BAD in (_state(entry, "label_state"), _state(entry, "label_state_admin")):
        return "marked as a bad video"
    return "" if name in videos else "missing video"


def _state(entry: Mapping[str, Any], key: str) -> int:
    state = entry.get(key, -1)
    return state if isinstance(state, int) else -1


def check_protocol(protocol: str, known: Sequence[str]) -> None:
    """Raise ValueError unless a released split is known by that name; empty asks for none."""
    if protocol and protocol not in known:
        raise ValueError(f"protocol must be one of {', '.join(known)}, or empty, got {protocol!r}")

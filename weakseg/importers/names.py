"""Read scene, sequence and camera from a frame's name, where cameras name their frames.

| names | scene | sequence | camera |
|---|---|---|---|
| `20200813_Ranch2Fire_wilson-e-mobo-c__1597356352_+00359.jpg` (SmokeSeg), the same with a folder | the camera | date, fire and camera | `wilson-e-mobo-c` |
| `1528757586_+00180.jpg` (SMOKE5K's real frames: seconds since 1970, seconds after the ignition) | the ignition | the ignition, `ignition-1528757406` | not in the name |
| `69bravo-e-mobo-c__2019-08-13T14;22;07-07;00.jpg` (HPWREN), `kooks_2__2024-09-01T10-22-36Z_frame_562...jpg` (IJmond) | the camera | camera and day | `kooks_2` |
| `0-7-2019-06-24-3504-...-1561410790` (RISE: camera, view, date, crop, times) | camera and view | the name | `rise-0` |

The first row is FIgLib's naming: HPWREN's Fire Ignition Library keeps a folder `DATE_FIRE_CAMERA`
with frames `EPOCH_OFFSET.jpg`, the offset counted from the ignition. So epoch minus offset is the
same for all frames of a sequence, and tells sequences apart where the camera is not given; one
camera's sequences of several days then count as several scenes.

References:
    Dewangan et al., "FIgLib & SmokeyNet", Remote Sensing 14 (2022) 1007; Yan et al.,
    "Transmission-Guided Bayesian Generative Model for Smoke Segmentation", AAAI 2022 (SMOKE5K);
    Yao et al., "FoSp", AAAI 2024 (SmokeSeg); Hsu et al., "Project RISE", AAAI 2021.
"""  # noqa: E501 - a table's rows do not break

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from weakseg.errors import DataError

_CAMERA: Final = r"(?P<camera>[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*-mobo(?:-[A-Za-z])?)"
_TIMES: Final = r"(?P<epoch>\d{10})_(?P<offset>[+-]\d{5})"
_FIGLIB: Final = re.compile(rf"(?:^|/)(?P<date>\d{{8}})_(?P<fire>[^/]+?)_{_CAMERA}(?:__|/){_TIMES}")
_IGNITION: Final = re.compile(rf"(?:^|/){_TIMES}")
_DATED: Final = re.compile(
    r"(?:^|/)(?P<camera>[^/]+?)__(?P<date>\d{4}-\d{2}-\d{2})T\d{2}[-;:_]\d{2}"
)
_RISE: Final = re.compile(
    r"(?:^|/)(?P<name>(?P<camera>\d+)-(?P<view>\d+)-\d{4}-\d{2}-\d{2}(?:-\d+){7,9})(?=[./_]|$)"
)


@dataclass(frozen=True)
class Place:
    """Where a frame comes from; empty where the name does not tell.

    Args:
        scene: What must not be torn between splits.
        sequence: The video it came from.
        camera: The camera.
    """

    scene: str = ""
    sequence: str = ""
    camera: str = ""


def place_of(name: str) -> Place:
    """Read a frame's name by the known patterns; see the table above.

    Args:
        name: Relative path with forward slashes.
    """
    if match := _FIGLIB.search(name):
        camera = match["camera"]
        return Place(camera, f"{match['date']}_{match['fire']}_{camera}", camera)
    if match := _RISE.search(name):
        camera = f"rise-{match['camera']}"
        return Place(f"{camera}-{match['view']}", match["name"], camera)
    if match := _DATED.search(name):
        camera = match["camera"]
        return Place(camera, f"{camera}_{match['date']}", camera)
    if match := _IGNITION.search(name):
        ignition = f"ignition-{int(match['epoch']) - int(match['offset'])}"
        return Place(ignition, ignition)
    return Place()


def place_by_pattern(name: str, pattern: re.Pattern[str]) -> Place:
    """Read a frame's name by a pattern of the user's.

    Args:
        name: Relative path with forward slashes.
        pattern: Its first group is the scene, or its groups named scene, sequence and camera.

    Raises:
        DataError: If the pattern finds no scene in the name.
    """
    match = pattern.search(name)
    found = {key: text or "" for key, text in match.groupdict().items()} if match else {}
    if match and "scene" not in found:
        found["scene"] = match.group(1) or ""
    if not found.get("scene"):
        raise DataError(f"scene_pattern {pattern.pattern!r} finds no scene in {name}: correct it")
    return Place(found["scene"], found.get("sequence", ""), found.get("camera", ""))


def compile_pattern(text: str) -> re.Pattern[str]:
    """Compile a user's pattern.

    Raises:
        ValueError: If it is no regular expression, or has no group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(f"scene_pattern is no regular expression: {error}") from error
    if not pattern.groups:
        raise ValueError(f"scene_pattern needs a group in parentheses, got {text!r}")
    return pattern

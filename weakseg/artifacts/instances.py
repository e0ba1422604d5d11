"""Write found instances in the format of COCO, which other tools read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from weakseg.artifacts.atomic import write_json
from weakseg.checks import check_shape
from weakseg.labels import CLASS_NAMES, SMOKE
from weakseg.models.instances import FoundInstances

MASK_CUT: Final = 0.5
"""Soft mask from which a pixel belongs to an instance."""

_FIRST_LETTER: Final = 48
_GROUP: Final = 0x1F
_SIGN: Final = 0x10
_MORE: Final = 0x20


def encode_rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Encode a mask (H, W) as COCO's compressed run lengths: {"size": [H, W], "counts": text}.

    Runs of zeros and ones by turns, starting with zeros, go down the columns; from the fourth on
    their difference to the last but one is written, in groups of five bits, lowest first.
    """
    check_shape((None, None), mask=mask)
    down = np.asarray(mask, dtype=np.int8).T.reshape(-1)
    changes = np.flatnonzero(np.diff(down, prepend=np.int8(0)))
    runs = np.diff(changes, prepend=0, append=len(down)).tolist()
    letters = []
    for index, run in enumerate(runs):
        value = run - runs[index - 2] if index > 2 else run
        is_open = True
        while is_open:
            group = value & _GROUP
            value >>= 5
            # The last group's highest bit is the sign of all.
            is_open = value != (-1 if group & _SIGN else 0)
            letters.append(chr((group | _MORE if is_open else group) + _FIRST_LETTER))
    return {"size": list(mask.shape), "counts": "".join(letters)}


def as_records(found: FoundInstances) -> list[dict[str, Any]]:
    """Give each instance as COCO has it, but for the numbers of instance and picture.

    An instance whose mask stays below one half everywhere has an empty mask and its box.
    """
    records = []
    for index, (box, score) in enumerate(
        zip(found.boxes.tolist(), found.scores.tolist(), strict=True)
    ):
        mask = found.mask(index).numpy() >= MASK_CUT
        x1, y1, x2, y2 = box
        records.append(
            {
                "category_id": SMOKE,
                "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 5),
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": encode_rle(mask),
            }
        )
    return records


def write_coco(
    path: Path | str,
    pictures: Iterable[tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]],
    *,
    info: Mapping[str, Any],
) -> int:
    """Write pictures and their instances as one COCO file; say how many instances there are.

    Args:
        path: The JSON file.
        pictures: Of each picture its facts (file_name, height, width and what else there is), and
            its instances as `as_records` gives them.
        info: Whatever explains them.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for facts, records in pictures:
        images.append({"id": len(images) + 1, **facts})
        for record in records:
            numbers = {"id": len(annotations) + 1, "image_id": len(images)}
            annotations.append({**numbers, **record})
    write_json(
        path,
        {
            "info": dict(info),
            "categories": [{"id": SMOKE, "name": CLASS_NAMES[SMOKE]}],
            "images": images,
            "annotations": annotations,
        },
    )
    return len(annotations)

"""Open sets of frames that a run was not made for, and tell how it fares on each."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from weakseg.artifacts import FinishedRun, plain, write_json
from weakseg.data import FrameSource, IndexSource
from weakseg.errors import DataError
from weakseg.report import Bar, Bars, Report, Table, write_report
from weakseg.stages.evaluation.measuring import Evaluation
from weakseg.stages.evaluation.rows import EVALUATION

log = logging.getLogger(__name__)

SETS: Final = "sets"
"""Name of the files that tell all sets beside each other."""

_SHOWN: Final = {
    "frames": "frames",
    "smoke_frames": "with smoke",
    "scenes": "scenes",
    "iou_per_image": "IoU per image",
    "iou_pooled": "IoU pooled",
    "boundary_iou": "boundary IoU",
    "f_beta": "F-beta",
    "mae": "MAE",
    "false_alarm_share": "false alarms",
    "auroc": "AUROC",
    "fpr_at_tpr95": "FPR at 95 % TPR",
    "ece": "ECE",
    "oracle_gap_per_image": "oracle's gap",
}
_NOTE: Final = (
    "One threshold for all sets, the run's own. Brackets: 95 % of resamples of scenes. A set "
    "without masks has figures by image labels and false alarms only."
)


def open_set(name: str, given: Any) -> tuple[FrameSource, str | None]:
    """Open a set that was given by name.

    Args:
        name: Of the set: letters, digits, `._+-`.
        given: The path of an index, or a mapping with `index`, `split` and whatever else
            `IndexSource` takes.

    Returns:
        Its source, and the only split wanted of it.

    Raises:
        DataError: If the name cannot name a file, or the mapping says something else.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", name) or name == SETS:
        raise DataError(f"sets.{name}: a set is named by letters, digits and ._+-, not {SETS!r}")
    values = {"index": given} if isinstance(given, str) else given
    if not isinstance(values, Mapping) or not isinstance(values.get("index"), str):
        raise DataError(
            f"sets.{name} must be the path of an index, or {{index: FILE.csv, split: NAME}}, "
            f"got {given!r}"
        )
    settings: dict[str, Any] = {str(k): v for k, v in values.items() if k != "split"}
    try:
        source = IndexSource(**settings)
    except (TypeError, ValueError) as error:
        raise DataError(f"sets.{name}: {error}") from error
    return source, values.get("split")


def tell_sets(run: FinishedRun, results: Mapping[str, Evaluation]) -> None:
    """Write `RUN/evaluation/sets.json` and `sets.html`, and say the main figures in lines."""
    folder = run.path / EVALUATION
    figures = {name: result.figures for name, result in results.items()}
    write_json(folder / f"{SETS}.json", {"run": str(run.path), "sets": plain(figures)})
    page = write_report(
        folder,
        Report(
            title=f"{run.manifest.kind} {run.path.name} on {len(results)} sets of frames",
            status=[_NOTE],
            bars=[
                Bars(label, [Bar(name, one[key]) for name, one in figures.items() if key in one])
                for key, label in _SHOWN.items()
                if key in ("iou_per_image", "false_alarm_share")
            ],
            tables=[
                Table("Set by set", ["figure", *figures], _rows(figures), _NOTE),
                *_strata("By size of the smoke", {n: r.strata for n, r in results.items()}),
                *_strata("By opacity of the smoke", {n: r.by_opacity for n, r in results.items()}),
            ],
        ),
        name=f"{SETS}.html",
    )
    for line in set_lines(figures):
        log.info("%s", line)
    log.info("sets beside each other: %s", page)


def set_lines(figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Say the figures of sets in lines of equal width, a column a set, a heading first."""
    rows = [["", *figures], *_rows(figures)]
    widths = [max(len(str(row[place])) for row in rows) for place in range(len(rows[0]))]
    return [
        f"{row[0]:<{widths[0]}}"
        + "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    ]


def _rows(figures: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    return [
        [label, *(_cell(one, key) for one in figures.values())]
        for key, label in _SHOWN.items()
        if any(math.isfinite(one.get(key, math.nan)) for one in figures.values())
    ]


def _cell(figures: Mapping[str, float], key: str) -> str:
    value = figures.get(key, math.nan)
    if not math.isfinite(value):
        return "-"
    if key in ("frames", "smoke_frames", "scenes"):
        return str(int(value))
    low, high = (figures.get(f"{key}_{end}", math.nan) for end in ("low", "high"))
    span = f" [{low:.3f}, {high:.3f}]" if math.isfinite(low) else ""
    return f"{value:.3f}{span}"


def _strata(title: str, tables: Mapping[str, list[dict[str, float | str]]]) -> list[Table]:
    """Give IoU per image by stratum, a column a set; none where no set has any."""
    names = list(dict.fromkeys(row["stratum"] for table in tables.values() for row in table))
    if not names:
        return []
    found = {name: {row["stratum"]: row for row in table} for name, table in tables.items()}
    rows = [
        [stratum, *(_of_stratum(table.get(stratum)) for table in found.values())]
        for stratum in names
    ]
    return [Table(title, ["stratum", *tables], rows, "IoU per image, and the number of frames.")]


def _of_stratum(row: Mapping[str, float | str] | None) -> str:
    if row is None or not row["frames"]:
        return "-"
    return f"{float(row['iou_per_image']):.3f} ({row['frames']})"

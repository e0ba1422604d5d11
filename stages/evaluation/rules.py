"""Ask every rule that needs no masks for its threshold, and say what each loses to the oracle."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from weakseg.metrics import false_alarm_share
from weakseg.refine import EvidenceStatistics, ThresholdRule
from weakseg.report import Table
from weakseg.stages.evaluation.measuring import Evaluation

log = logging.getLogger(__name__)

OWN: Final = "own"
ORACLE: Final = "oracle"
COLUMNS: Final = ("threshold", "iou_per_image", "false_alarm_share", "oracle_gap")

_NOTE: Final = (
    "Each rule saw labels and scores of training and validation frames, and chose its threshold "
    "by them; IoU per image and false alarms are of the frames measured here, their scores cut at "
    "that threshold. `own` is the run's threshold; `oracle`, the best there is, needs the masks."
)

RuleRow = dict[str, float | str]


def by_rule(
    rules: Mapping[str, ThresholdRule],
    statistics: EvidenceStatistics,
    result: Evaluation,
    *,
    own: float,
    own_rule: str = "",
) -> list[RuleRow]:
    """Measure the thresholds that rules choose, beside the run's own and the oracle's.

    Scores are cut as they are, without an ignore band and specks and all, so that the oracle's IoU
    is the upper bound of every row's.

    Args:
        rules: Name -> rule; each sees `statistics` and nothing else.
        statistics: Scores and labels of training and validation frames.
        result: What was measured against masks, with its `curves`.
        own: The run's own threshold, in [0, 1].
        own_rule: The rule that chose it.

    Returns:
        One row for the run's own threshold, one a rule, and the oracle's, with the keys `rule`,
        `threshold`, `iou_per_image`, `false_alarm_share` (of the smoke-free frames, as in
        `false_alarm_share`), `oracle_gap` (>= 0, the oracle's IoU less the row's) and `note`: what
        chose the run's own threshold, or why a rule could not choose. Unknown figures are NaN.
    """
    rows = [_row(OWN, own, result, note=own_rule)]
    for name, rule in rules.items():
        try:
            threshold, note = rule.choose(statistics).threshold, ""
        except ValueError as error:
            threshold, note = math.nan, str(error)
            log.debug("rule %s chose no threshold: %s", name, error)
        rows.append(_row(name, threshold, result, note=note))
    best, _ = result.curves.peak()
    return [*rows, _row(ORACLE, best, result, note="chosen by the masks")]


def rule_tables(result: Evaluation) -> list[Table]:
    """Give the rows of `by_rule` as a table of a page; none where there are no rows."""
    if not result.rules:
        return []
    columns = ["rule", *COLUMNS, "note"]
    rows = [[row[key] for key in columns] for row in result.rules]
    return [Table("By rule for the threshold", columns, rows, note=_NOTE)]


def rule_lines(rows: Sequence[RuleRow]) -> list[str]:
    """Say the rows of `by_rule` in lines of equal width, a heading first; no rows, no lines."""
    if not rows:
        return []
    width = max(len(str(row["rule"])) for row in rows)
    lines = [f"{'rule':<{width}}  threshold  IoU per image  false alarms  gap to the oracle"]
    lines += [
        f"{row['rule']:<{width}}  {_shown(row['threshold']):>9}  {_shown(row['iou_per_image']):>13}"
        f"  {_shown(row['false_alarm_share']):>12}  {_shown(row['oracle_gap']):>17}"
        for row in rows
    ]
    return lines


def _row(name: str, threshold: float, result: Evaluation, *, note: str) -> RuleRow:
    figures = dict.fromkeys(COLUMNS, math.nan)
    if math.isfinite(threshold):
        iou = result.curves.iou_at(threshold)
        _, best = result.curves.peak()
        figures = {
            "threshold": threshold,
            "iou_per_image": iou,
            "false_alarm_share": _alarms(result, threshold),
            "oracle_gap": best - iou,
        }
    return {"rule": name, **figures, "note": note}


def _alarms(result: Evaluation, threshold: float) -> float:
    clear = np.array([frame.is_smoke_free for frame in result.frames], dtype=bool)
    return false_alarm_share(result.curves.areas_at(threshold)[clear])


def _shown(value: float | str) -> str:
    known = isinstance(value, int | float) and math.isfinite(value)
    return f"{value:.3f}" if known else "-"

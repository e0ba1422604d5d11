"""Write the tables of an ablation: CSV for machines, a short text for people."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from weakseg.artifacts import write_text
from weakseg.stages.ablation.results import (
    COLLAPSED,
    FAILED_FRAMES,
    RULE,
    SECONDS,
    Line,
    Result,
    Spread,
    lines_of,
    spread_of,
)
from weakseg.stages.ablation.study import GROUPS, Unit
from weakseg.stages.ablation.unit_commands import Kitchen

SHOWN: Final = (
    ("val/iou_per_image", "IoU, val"),
    ("val/iou_at_threshold", "uncut IoU, val"),
    ("val/oracle_iou_per_image", "oracle, val"),
    ("val/oracle_gap_per_image", "gap, val"),
    ("val/iou_pooled", "pooled, val"),
    ("val/false_alarm_share", "false alarms, val"),
    ("train/iou_per_image", "IoU, train"),
    ("train/oracle_iou_per_image", "oracle, train"),
    ("train/false_alarm_share", "false alarms, train"),
    ("val/auroc", "AUROC, val"),
    (SECONDS, "s/image"),
    (FAILED_FRAMES, "failed frames"),
    (COLLAPSED, "collapsed"),
)
"""The columns of the short table."""
_TROUBLES: Final = (FAILED_FRAMES, COLLAPSED)
"""Columns that are shown where there is any; the CSV files always have them."""
LEGEND: Final = (
    "IoU is the mean over frames with smoke of the IoU of their pseudo-masks, at the threshold "
    "that the row itself chose without masks. A pseudo-mask leaves out specks and what lies close "
    "to the cut; uncut IoU is of the scores at the same threshold, the oracle's at the best one, "
    "which only masks can tell, and the gap is between these two. Pooled counts all pixels as one "
    "frame's. False alarms: share of the smoke-free frames with more than 0.1 % called smoke. "
    "Mean ± sample standard deviation over seeds. Seconds a frame are of CAMs and refinement, "
    "without training, with the threads and commands at once that are named above. No mask had a "
    "part in making or choosing anything, and test frames were left out altogether."
)

RULES_LEGEND: Final = (
    "IoU per image on val of the scores, cut at the threshold that each rule chooses by labels and "
    "scores of training and validation frames."
)


def write_tables(
    kitchen: Kitchen,
    results: Sequence[Result],
    *,
    title: str,
    failed: Mapping[Unit, str],
    stale: Sequence[Unit] = (),
) -> None:
    """Write `units.csv`, `ablation.csv` and `ablation.md`."""
    lines = lines_of(kitchen, results)
    write_text(kitchen.output / "units.csv", units_csv(results))
    write_text(kitchen.output / "ablation.csv", lines_csv(lines))
    text = as_markdown(kitchen, lines, results, title=title, failed=failed, stale=stale)
    write_text(kitchen.output / "ablation.md", text)


def units_csv(results: Sequence[Result]) -> str:
    """Give one line a unit, with every figure."""
    keys = _keys(result.figures for result in results)
    rows = [
        [r.unit.row, r.group, r.unit.seed, *(_cell(r.figures.get(key)) for key in keys), r.version]
        for r in results
    ]
    return _csv(["row", "group", "seed", *keys, "version"], rows)


def lines_csv(lines: Sequence[Line]) -> str:
    """Give one line a row: of every figure its mean, standard deviation and number of seeds."""
    keys = _keys(line.figures for line in lines)
    head = [f"{key}_{part}" for key in keys for part in ("mean", "std", "n")]
    rows = []
    for line in lines:
        spreads = [line.figures.get(key, Spread(math.nan, math.nan, 0)) for key in keys]
        cells = [c for s in spreads for c in (_cell(s.mean), _cell(s.std), str(s.count))]
        rows.append([line.row, line.group, len(line.seeds), *cells])
    return _csv(["row", "group", "seeds", *head], rows)


def short_table(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Give the columns and rows of the short table; figures that no row knows are left out."""
    shown = [
        (key, name)
        for key, name in SHOWN
        if any(key in line.figures for line in lines)
        and (key not in _TROUBLES or any(line.mean(key) > 0 for line in lines))
    ]
    columns = ["row", "seeds", *(name for _, name in shown)]
    rows = [
        [line.row, str(len(line.seeds)), *(told(line.figures.get(key)) for key, _ in shown)]
        for line in lines
    ]
    return columns, rows


def rules_table(lines: Sequence[Line]) -> tuple[list[str], list[list[str]]]:
    """Give, for each row and rule, the IoU on val of its scores at the rule's threshold.

    The last line is each rule's mean loss to the oracle, over the rows in which every rule could
    choose with every seed, so that the rules are compared on the same scores. No rules, no rows.
    """
    start, end = f"val/{RULE}", "/iou_per_image"
    keys = [key for key in _keys(line.figures for line in lines) if key.startswith(start)]
    rules = [key[len(start) : -len(end)] for key in keys if key.endswith(end)]
    if not rules:
        return [], []
    rows = [
        [line.row, *(told(line.figures.get(f"{start}{rule}{end}")) for rule in rules)]
        for line in lines
    ]
    wanted = [f"{start}{rule}/oracle_gap" for rule in rules]
    same = [line for line in lines if all(_is_whole(line, key) for key in wanted)]
    gaps = [spread_of(line.mean(key) for line in same) for key in wanted]
    name = f"mean gap to the oracle, {len(same)} of {len(lines)} rows"
    rows.append([name, *(told(Spread(gap.mean, math.nan, 1)) for gap in gaps)])
    return ["row", *rules], rows


def _is_whole(line: Line, key: str) -> bool:
    """Say whether every seed of a row knows a figure."""
    return key in line.figures and line.figures[key].count == len(line.seeds)


def told(spread: Spread | None) -> str:
    """Write a figure for people: `0.412 ± 0.013`; a dash for what is not known."""
    if spread is None or not math.isfinite(spread.mean):
        return "\N{EN DASH}"
    if not math.isfinite(spread.std):
        return f"{spread.mean:.3f}"
    return f"{spread.mean:.3f} ± {spread.std:.3f}"


def by_group(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Give the rows of each group, in the groups' order."""
    found = {group: [line for line in lines if line.group == group] for group in GROUPS}
    return {group: own for group, own in found.items() if own}


def status_lines(
    kitchen: Kitchen,
    results: Sequence[Result],
    failed: Mapping[Unit, str],
    stale: Sequence[Unit] = (),
) -> list[str]:
    """Say what was measured on, with which version, what went wrong, and what is missing."""
    counts = kitchen.frames.counts
    told_frames = ", ".join(
        f"{split}: {counts[split, 1]} with smoke and {counts[split, 0]} without"
        for split in ("train", "val")
    )
    versions = sorted({f"weakseg {r.version}" + _commit(r) for r in results})
    seeds = ", ".join(map(str, sorted({r.unit.seed for r in results})))
    made = f"Seeds: {seeds}. {', '.join(versions)}.{_timing(results)}"
    lines = [f"Frames: {told_frames}.", made, *_troubles(results)]
    if kitchen.study.left_out:
        told_rows = "; ".join(f"{name} ({why})" for name, why in kitchen.study.left_out.items())
        lines.append(f"Left out: {told_rows}.")
    if failed:
        lines.append(f"Failed: {', '.join(map(str, failed))}.")
    if stale:
        lines.append(
            f"Stale: {', '.join(map(str, stale))}. They were made with other settings, weights, "
            "frames, masks or another version, and have no part in the table."
        )
    return lines


def _troubles(results: Sequence[Result]) -> list[str]:
    """Name the units in which frames failed or a student collapsed."""
    broken = [f"{r.unit} ({count:.0f})" for r in results if (count := r.figures.get(FAILED_FRAMES))]
    collapsed = [str(r.unit) for r in results if r.figures.get(COLLAPSED)]
    lines = [f"Frames that a step failed on: {', '.join(broken)}."] if broken else []
    return lines + ([f"Collapsed students: {', '.join(collapsed)}."] if collapsed else [])


def _timing(results: Sequence[Result]) -> str:
    ways = sorted({(r.threads, r.jobs) for r in results if r.threads})
    told_ways = " or ".join(
        f"threads: {threads}, commands at once: {jobs}" for threads, jobs in ways
    )
    return f" Timed with {told_ways}." if ways else ""


def as_markdown(
    kitchen: Kitchen,
    lines: Sequence[Line],
    results: Sequence[Result],
    *,
    title: str,
    failed: Mapping[Unit, str],
    stale: Sequence[Unit] = (),
) -> str:
    """Write the table with what it takes to make it again."""
    parts = [f"# {title}", *status_lines(kitchen, results, failed, stale), LEGEND]
    for group, own in by_group(lines).items():
        parts.append(f"## {group.capitalize()}")
        parts.append(_markdown_table(*short_table(own)))
        notes = [(line.row, kitchen.study.rows[line.row].note) for line in own]
        if any(note for _, note in notes):
            parts.append("\n".join(f"- {row}: {note}" for row, note in notes if note))
    columns, rows = rules_table(lines)
    if rows:
        parts += ["## By rule for the threshold", RULES_LEGEND, _markdown_table(columns, rows)]
    parts.append("## Commands")
    parts.append(
        "Of the first finished seed of each row; the others differ in `seed` and in the folders. "
        "`FRAMES` is the folder of the frames and `OUT` the ablation's own, where `index.csv` "
        "lists the frames without masks and `truth.csv` with them; weights are named by their "
        "files."
    )
    parts.append("```\n" + "\n\n".join(_commands(kitchen, results)) + "\n```")
    return "\n\n".join(parts) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---", *("---:" for _ in columns[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [columns, align, *rows])


def _commands(kitchen: Kitchen, results: Sequence[Result]) -> list[str]:
    first = {result.unit.row: result for result in reversed(results)}
    return [
        "\n".join([f"# {name}", *first[name].commands])
        for name in kitchen.study.rows
        if name in first
    ]


def _commit(result: Result) -> str:
    return f" ({result.git_commit[:12]})" if result.git_commit else ""


def _keys(figures: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for one in figures for key in one))


def _cell(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.6g}"


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()

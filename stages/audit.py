"""Look over a data set before anything is trained on it, and say what to do about each finding."""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from weakseg.artifacts.atomic import write_json, write_text
from weakseg.data.comparison import (
    Balance,
    balance_of,
    compare_contents,
    compare_ids,
    compare_labels,
    compare_scenes,
)
from weakseg.data.inspection import LEVELS, Finding, Inspected, inspect_frame
from weakseg.data.quarantine import Quarantined, list_quarantine, write_quarantine
from weakseg.data.reading import read_ids
from weakseg.data.synthetic import SyntheticSource
from weakseg.data.threads import map_threads
from weakseg.data.truth import masks_of, read_mask
from weakseg.errors import DataError
from weakseg.labels import IGNORE, SMOKE
from weakseg.plans import CheckPlan
from weakseg.training.progress import track

log = logging.getLogger(__name__)

SHARE_EDGES = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Of the frame: the bins of the smoke-size histogram."""
BAR_LETTERS = 40


@dataclass(frozen=True)
class MaskInspected:
    """What the inspection of one mask gave.

    Args:
        findings: What was found.
        split: Of its frame.
        share: Of the frame that is smoke; None if the mask cannot be read.
        coding: "ids", "black and white" or "either".
    """

    findings: tuple[Finding, ...]
    split: str
    share: float | None = None
    coding: str = "either"


@dataclass(frozen=True)
class AuditReport:
    """What the check found.

    Args:
        frames: How many were looked at.
        balance: Labels by split.
        findings: Errors first.
        shares: By split, the share of each smoke frame that is smoke, where masks are given.
        output: The folder with the findings, the quarantine and this report.
    """

    frames: int
    balance: Balance
    findings: tuple[Finding, ...]
    shares: Mapping[str, Sequence[float]]
    output: Path
    counts: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        found = Counter(finding.level for finding in self.findings)
        object.__setattr__(self, "counts", {level: found[level] for level in LEVELS})

    def lines(self) -> list[str]:
        """Tell all of it in lines for a terminal."""
        told = ", ".join(f"{self.counts[level]} {level}s" for level in LEVELS)
        return [
            f"{self.frames} frames: {told}".replace("infos", "notes"),
            *(
                f"  {split}: {no} without smoke, {yes} with smoke"
                for split, (no, yes) in self.balance.items()
            ),
            *_histogram_lines(self.shares),
            *_topic_lines(self.findings),
            f"all findings: {self.output / 'findings.csv'}",
            f"to leave out what has errors: data.quarantine={self.output / 'quarantine.csv'}",
        ]


def run(plan: CheckPlan, config: Mapping[str, Any]) -> None:
    """Check, tell, and fail if there are errors.

    Raises:
        DataError: If there are errors, after everything is written.
    """
    report = audit(plan, config)
    for line in report.lines():
        log.info("%s", line)
    if report.counts["error"]:
        raise DataError(
            f"{report.counts['error']} errors in the data: correct them, or leave those frames "
            f"out with data.quarantine={report.output / 'quarantine.csv'}"
        )


def audit(plan: CheckPlan, config: Mapping[str, Any]) -> AuditReport:
    """Look at every frame and mask, compare them, and write what was found.

    Args:
        plan: What to check.
        config: The resolved configuration, kept beside the findings.

    Raises:
        DataError: If the source cannot even be listed.
        ArtifactError: If the output cannot be written.
    """
    if isinstance(plan.data, SyntheticSource):
        plan.data.make(watch=partial(track, total=plan.data.scenes, what="draw", unit="scenes"))
    frames = plan.data.frames()
    look = partial(inspect_frame, max_pixels=plan.max_pixels)
    looked = map_threads(look, frames)
    inspected = list(track(looked, total=len(frames), what="look at frames", unit="frames"))
    masks = list(_inspect_masks(plan, inspected))
    balance = balance_of(frames)
    findings = [
        *(finding for one in inspected for finding in one.findings),
        *(finding for mask in masks for finding in mask.findings),
        *_compare_codings(masks),
        *compare_ids(frames),
        *compare_labels(balance),
        *compare_scenes(frames),
        *compare_contents(inspected, bits=plan.near_duplicate_bits),
    ]
    report = AuditReport(
        frames=len(frames),
        balance=balance,
        findings=tuple(sorted(findings, key=_rank)),
        shares=_shares(masks),
        output=Path(plan.output).absolute(),
    )
    _write(report, plan, config)
    return report


def _rank(finding: Finding) -> tuple[int, str, str, str]:
    return LEVELS.index(finding.level), finding.topic, finding.path, finding.what


def _inspect_masks(plan: CheckPlan, inspected: Sequence[Inspected]) -> Iterator[MaskInspected]:
    masks = masks_of(plan.data.settings())
    pairs = [(one, masks[one.frame.path]) for one in inspected if one.frame.path in masks]
    looked = map_threads(lambda pair: _inspect_mask(*pair), [p for p in pairs if p[0].height])
    yield from track(looked, total=len(pairs), what="look at masks", unit="masks")


def _inspect_mask(one: Inspected, path: Path) -> MaskInspected:
    frame = one.frame
    try:
        mask = read_mask(path, height=one.height, width=one.width)
        values = np.unique(read_ids(path))
    except DataError as error:
        what, _, advice = str(error).removeprefix(f"{path} ").partition(": ")
        finding = Finding("error", "mask", str(path), what, advice or "make it again", frame.id)
        return MaskInspected((finding,), frame.split)
    share = float((mask == SMOKE).mean())
    findings: tuple[Finding, ...] = ()
    if (share > 0) != bool(frame.label):
        what = "shows smoke" if share > 0 else "shows none"
        what = f"{what}, but its frame is labelled {frame.label}"
        finding = Finding(
            "warning",
            "mask against label",
            str(path),
            what,
            "correct the label or the mask",
            frame.id,
        )
        findings = (finding,)
    coding = "ids" if SMOKE in values else "black and white" if IGNORE in values else "either"
    return MaskInspected(findings, frame.split, share if frame.label else None, coding)


def _compare_codings(masks: Sequence[MaskInspected]) -> Iterator[Finding]:
    codings = Counter(mask.coding for mask in masks)
    if codings["ids"] and codings["black and white"]:
        what = (
            f"{codings['ids']} masks hold ids (1 is smoke, 255 is ignored) and "
            f"{codings['black and white']} only 0 and 255 (255 is taken for smoke)"
        )
        advice = "use one coding: in a set of ids, a mask of only 0 and 255 is misread"
        yield Finding("warning", "mask coding", "", what, advice)


def _shares(masks: Sequence[MaskInspected]) -> dict[str, list[float]]:
    shares: dict[str, list[float]] = defaultdict(list)
    for mask in masks:
        if mask.share is not None:
            shares[mask.split].append(mask.share)
    return dict(shares)


def _histogram_lines(shares: Mapping[str, Sequence[float]]) -> Iterator[str]:
    for split, values in shares.items():
        counts, _ = np.histogram(values, bins=SHARE_EDGES)
        yield f"  {split}: smoke covers {np.median(values):.1%} of a smoke frame (median)"
        for (low, high), count in zip(pairwise(SHARE_EDGES), counts, strict=True):
            bar = "#" * round(BAR_LETTERS * count / max(counts))
            yield f"    {low:6.1%} - {high:6.1%} {count:6d} {bar}".rstrip()


def _topic_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Tell each topic once, by its first file."""
    topics: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        topics[finding.level, finding.topic].append(finding)
    for (level, topic), found in topics.items():
        first = found[0]
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        subject = f"{first.path} " if first.path else ""
        yield f"{level}: {topic}: {subject}{first.what}{more}: {first.advice}"


def _write(report: AuditReport, plan: CheckPlan, config: Mapping[str, Any]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("level", "topic", "id", "path", "what", "advice"))
    writer.writerows((f.level, f.topic, f.id, f.path, f.what, f.advice) for f in report.findings)
    write_text(report.output / "findings.csv", text.getvalue())
    write_quarantine(report.output / "quarantine.csv", _to_quarantine(report, plan))
    write_text(report.output / "report.txt", "\n".join(report.lines()) + "\n")
    summary = {
        "frames": report.frames,
        "counts": dict(report.counts),
        "balance": report.balance,
        "smoke_shares": report.shares,
        "config": dict(config),
    }
    write_json(report.output / "summary.json", summary)


def _to_quarantine(report: AuditReport, plan: CheckPlan) -> list[Quarantined]:
    """List the frames with errors, after those that the source leaves out already."""
    before = plan.data.settings().get("quarantine")
    rows = list_quarantine(before) if before else []
    paths = {frame.id: str(frame.path) for frame in plan.data.frames()}
    for finding in report.findings:
        if finding.level == "error" and finding.id:
            path = finding.path if finding.topic == "duplicated id" else paths[finding.id]
            rows.append(Quarantined(finding.id, path, f"{finding.topic}: {finding.what}"))
    return list({(row.id, row.path): row for row in reversed(rows)}.values())[::-1]

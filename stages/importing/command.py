"""Import what others annotated or released: an index, masks, instances, and an account of it."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from weakseg.artifacts import ArtifactError, write_json, write_text
from weakseg.checks import check_at_least, check_one_of
from weakseg.data.frames import frame_ids
from weakseg.data.threads import map_threads
from weakseg.errors import DataError
from weakseg.importers import Marked, Skipped
from weakseg.importers.files import IMPORT_MARK
from weakseg.plans import ImportPlan
from weakseg.stages.importing.account import Account, refuse_open_choice
from weakseg.stages.importing.clips import take_frames
from weakseg.stages.importing.pictures import PictureRules, Row, index_path
from weakseg.stages.importing.scenes import check_splitting, settle_places, settle_splits
from weakseg.training.progress import track

log = logging.getLogger(__name__)

INDEX = "index.csv"
SUMMARY = "summary.json"
MADE = ("frames", "masks", "instances")
COLUMNS = (
    *("path", "label", "split", "scene", "sequence", "camera"),
    *("mask_path", "instances_path"),
)


def run(plan: ImportPlan, config: Mapping[str, Any]) -> Path:
    """Import, tell what became of everything, and give the index's path.

    Args:
        plan: What to import.
        config: The resolved configuration, kept in the summary.

    Raises:
        DataError: If the export is not of that format, damaged, or nothing of it can be used.
        ArtifactError: If the output holds other things, or cannot be written.
        ValueError: If settings do not fit.
    """
    check_one_of(("nonsmoke", "skip"), unmarked=plan.unmarked)
    check_at_least(1, max_pixels=plan.max_pixels)
    check_splitting(plan)
    source, output = settle_folders(plan)
    export = plan.format.read(source)
    start(output, source)
    taken = take_frames(export.clips, rate=export.rate, output=output, max_pixels=plan.max_pixels)
    pictures, repeated = leave_out_repeats((*export.pictures, *taken.pictures))
    pictures = settle_places(pictures, plan)
    if not plan.classes:
        refuse_open_choice(pictures)
    rows, left_out = make_rows(pictures, plan, output)
    account = Account(
        export, pictures, rows, (*export.skipped, *taken.skipped, *repeated, *left_out)
    )
    if not rows:
        raise DataError(f"nothing of {plan.source} can be imported: {next(account.lines())}")
    settle_splits(rows, plan)
    write_text(output / INDEX, as_table(rows, output))
    remove_stale(rows, output)
    write_json(output / SUMMARY, account.summary(config))
    for line in account.lines():
        log.info("%s", line)
    log.info("index: %s", output / INDEX)
    return output / INDEX


def settle_folders(plan: ImportPlan) -> tuple[Path, Path]:
    """Give source and output as absolute paths, and see that the output may be written to.

    The output may lie beside an annotation file or below, but not in a folder that is the source.

    Raises:
        DataError: If one lies in the other.
        ArtifactError: If the output holds other things, or a finished import.
    """
    source, output = (
        Path(os.path.abspath(text))  # noqa: PTH100 - resolve() would follow links
        for text in (plan.source, plan.output)
    )
    base = source.parent if source.is_file() else source
    is_inside = source.is_dir() and output.is_relative_to(base)
    if is_inside or base.is_relative_to(output):
        raise DataError(f"output={output} and source={base} lie in each other: keep them apart")
    if (output / SUMMARY).is_file() and not plan.overwrite:
        raise ArtifactError(
            f"{output} holds a finished import: give another output, or overwrite=true"
        )
    if output.exists() and not (output / IMPORT_MARK).is_file() and any(output.iterdir()):
        raise ArtifactError(f"{output} holds things that are no import: give another output")
    return source, output


def start(output: Path, source: Path) -> None:
    """Mark the output as an import that is not finished."""
    (output / SUMMARY).unlink(missing_ok=True)
    write_json(output / IMPORT_MARK, {"source": str(source)})


def leave_out_repeats(pictures: Sequence[Marked]) -> tuple[list[Marked], list[Skipped]]:
    """Keep the first of several entries of one picture."""
    first: dict[str, Marked] = {}
    repeated = []
    for one in pictures:
        if first.setdefault(one.name, one) is not one:
            lost = len(one.regions or ())
            repeated.append(Skipped("picture", one.name, "picture listed again", lost))
    return list(first.values()), repeated


def make_rows(
    pictures: Sequence[Marked], plan: ImportPlan, output: Path
) -> tuple[list[Row], list[Skipped]]:
    """Draw and write all pictures, some at once."""
    rules = PictureRules(
        output=output,
        classes=frozenset(name.casefold() for name in plan.classes),
        copy=plan.copy,
        skip_unmarked=plan.unmarked == "skip",
        max_pixels=plan.max_pixels,
    )
    ids = frame_ids([one.name for one in pictures])
    work = partial(_take, rules)
    made = map_threads(work, zip(ids, pictures, strict=True))
    rows: list[Row] = []
    skipped: list[Skipped] = []
    for one in track(made, total=len(pictures), what="import", unit="pictures"):
        if isinstance(one, Row):
            rows.append(one)
        else:
            skipped.append(one)
    return rows, skipped


def _take(rules: PictureRules, item: tuple[str, Marked]) -> Row | Skipped:
    return rules.take(*item)


def as_table(rows: Sequence[Row], output: Path) -> str:
    """Write the rows as the CSV that `data=index` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        place = (row.split, row.scene, row.sequence, row.camera)
        files = (row.mask_path, row.instances_path)
        writer.writerow((index_path(row, output), row.label, *place, *files))
    return text.getvalue()


def remove_stale(rows: Sequence[Row], output: Path) -> None:
    """Delete what an earlier import into the same folder made and this one does not name."""
    named = {output / path for row in rows for path in (row.mask_path, row.instances_path) if path}
    named |= {row.path for row in rows}
    for folder in MADE:
        for path in sorted((output / folder).rglob("*")):
            if path.is_file() and path not in named and path.suffix != ".json":
                path.unlink()

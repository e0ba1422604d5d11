"""Say in a model card what a run's frames are, and under which licences, as far as is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import FinishedRun
from weakseg.data import Frame, dataset_fingerprint
from weakseg.data.assembly import absolute
from weakseg.data.listing import cameras_of
from weakseg.data.reading import read_grey_thumbnail
from weakseg.data.sources import source_from_settings
from weakseg.data.tables import read_table
from weakseg.errors import DataError
from weakseg.labels import SMOKE
from weakseg.report import Section, Table

_LICENCE: Final = ("licence", "license")
_SOURCE: Final = ("source", "origin_name", "provider")
_MOST_ROWS: Final = 20
_LONGEST_CELL: Final = 400
_DARK_LEVEL: Final = 50
_LOOKED_AT: Final = 100


def data_section(
    settings: Mapping[str, Any], frames: Sequence[Frame], *, is_learnt: bool = True
) -> Section:
    """Tell where frames came from, how many of each kind there are, and their licences.

    Args:
        settings: Of their source.
        frames: All that the run knows.
        is_learnt: The run itself learnt; else its segmenter is that of an earlier run.
    """
    lines = [_origin(settings)]
    if not is_learnt:
        lines.append("None of these frames was learnt by this run: the split train was not used.")
    tables = [_counts(frames), *_column_tables(settings, frames)]
    has_licence = any(table.title.startswith("Licences") for table in tables)
    if settings["kind"] == "synthetic":
        lines.append(
            "Licence: the frames are computed, not filmed; nobody else has rights in them."
        )
    elif not has_licence:
        lines.append(
            "Licence of the frames: unknown, for the data do not say. Ask who owns them before "
            "the model or its pictures are passed on."
        )
    else:
        lines.append(
            "Licences are quoted from the index as they stand there; nobody has checked them."
        )
    if is_learnt:
        lines.append(scenes_line(frames))
    else:
        lines.append(
            "Whether scenes that are held out here were learnt is unknown: an earlier run learnt."
        )
    return Section("Data", lines, tables=tables)


def taught_section(learner: FinishedRun | None) -> Section:
    """Tell what the segmenter of an earlier run learnt from, as far as that run still tells.

    Args:
        learner: The run that learnt; None if it is not there.
    """
    title = "Training data"
    if learner is None:
        return Section(title, ["Unknown: the run that learnt is not in its folder any more."])
    settings = learner.manifest.data
    origin = f"Those of the run `{learner.path.name}`, which learnt. {_origin(settings)}"
    try:
        frames = source_from_settings(settings).frames()
    except (DataError, ValueError, TypeError):
        frames = []
    if not frames or dataset_fingerprint(frames) != learner.manifest.inputs.get("frames"):
        return Section(title, [origin, "Its frames are not there as they were: counts unknown."])
    return Section(title, [origin, scenes_line(frames)], tables=[_counts(frames)])


def scenes_line(frames: Sequence[Frame]) -> str:
    """Say whether scenes are torn between splits."""
    scenes: dict[str, set[str]] = {}
    for frame in frames:
        scenes.setdefault(frame.split, set()).add(frame.scene)
    if "train" not in scenes or len(scenes) == 1:
        return "Whether held-out scenes were trained on is unknown: only one split is listed here."
    held_out = set().union(*(found for split, found in scenes.items() if split != "train"))
    shared = scenes["train"] & held_out
    if shared:
        return (
            f"{len(shared)} of the {len(held_out)} held-out scenes are in the training split too: "
            "figures are better than on new scenes."
        )
    return f"None of the {len(held_out)} held-out scenes is in the training split."


def cameras_line(settings: Mapping[str, Any], frames: Sequence[Frame]) -> str:
    """Say how many held-out cameras are new to the model, if the data name cameras."""
    cells = cameras_of(settings)
    named = {frame.path: cells[frame.path] for frame in frames if cells.get(frame.path)}
    train = {named[f.path] for f in frames if f.split == "train" and f.path in named}
    other = {named[f.path] for f in frames if f.split != "train" and f.path in named}
    if not train or not other:
        return (
            "Unseen cameras: the data do not name cameras, so figures for cameras that are new to "
            "the model are unknown. Measure on yours before you rely on it."
        )
    new = len(other - train)
    return (
        f"Unseen cameras: {new} of the {len(other)} held-out cameras were not in training "
        f"({len(train)} cameras). " + ("" if new else "None was new: nothing is known of new ones.")
    ).strip()


def night_line(frames: Sequence[Frame]) -> str:
    """Say whether there are dark frames among the held-out ones; at most 100 are looked at."""
    held_out = [frame for frame in frames if frame.split != "train"]
    if not held_out:
        return "Night: no held-out frame was looked at."
    step = max(1, -(-len(held_out) // _LOOKED_AT))
    chosen = held_out[::step]
    dark = sum(
        float(read_grey_thumbnail(frame.path, side=32).mean()) < _DARK_LEVEL for frame in chosen
    )
    seen = (
        f"Night: {dark} of {len(chosen)} held-out frames looked at are dark (mean grey level below "
        f"{_DARK_LEVEL} of 255)"
    )
    if dark:
        return f"{seen}; figures are not told apart by daytime."
    return f"{seen}, so nothing is known of frames at night, of infrared or of thermal cameras."


def _origin(settings: Mapping[str, Any]) -> str:
    kind = settings["kind"]
    if kind == "synthetic":
        return (
            f"Source: frames drawn by weakseg itself ({settings['scenes']} scenes, seed "
            f"{settings['seed']}). They show that everything works, not how well it works on real "
            "smoke."
        )
    if kind == "index":
        where = settings.get("where")
        rows = f", rows with {_said(where)}" if where else ""
        return f"Source: the index `{Path(settings['index']).name}`{rows}."
    return f"Source: the folder `{Path(settings['folder']).name}`; labels are its subfolders."


def _said(where: Mapping[str, Any]) -> str:
    return " and ".join(f"{key} = {value}" for key, value in where.items())


def _counts(frames: Sequence[Frame]) -> Table:
    splits = _splits(frames)
    rows: list[list[str | int]] = []
    for split in splits:
        own = [frame for frame in frames if frame.split == split]
        smoke = sum(frame.label == SMOKE for frame in own)
        sequences = {(frame.scene, frame.sequence) for frame in own if frame.sequence}
        scenes = len({frame.scene for frame in own})
        rows.append([split, smoke, len(own) - smoke, scenes, len(sequences) or "not told"])
    return Table("Frames", ["split", "smoke", "smoke-free", "scenes", "sequences"], rows)


def _column_tables(settings: Mapping[str, Any], frames: Sequence[Frame]) -> list[Table]:
    """Count the frames by licence and by source, where the index tells them."""
    tables = []
    for title, names in (("Licences", _LICENCE), ("Sources", _SOURCE)):
        cells = _cells(settings, names)
        if any(cells.get(frame.path) for frame in frames):
            tables.append(_by_cell(title, cells, frames))
    return tables


def _by_cell(title: str, cells: Mapping[Path, str], frames: Sequence[Frame]) -> Table:
    splits = _splits(frames)
    found = Counter((cells.get(frame.path) or "not told", frame.split) for frame in frames)
    totals: Counter[str] = Counter()
    for (text, _), count in found.items():
        totals[text] += count
    shown = [text for text, _ in totals.most_common(_MOST_ROWS)]
    rows: list[list[str | int]] = [
        [_short(text), *(found[text, split] for split in splits)] for text in shown
    ]
    if len(totals) > len(shown):
        rest = [text for text in totals if text not in shown]
        sums = [sum(found[text, split] for text in rest) for split in splits]
        rows.append([f"{len(rest)} others", *sums])
    return Table(f"{title} by number of frames", [title.lower().removesuffix("s"), *splits], rows)


def _cells(settings: Mapping[str, Any], names: Sequence[str]) -> dict[Path, str]:
    """Read the first of these columns that an index has: absolute frame path -> cell."""
    if settings["kind"] != "index":
        return {}
    table = read_table(settings["index"], needs=("path",))
    column = next((name for name in table.columns if name.casefold() in names), None)
    if column is None:
        return {}
    base = Path(settings["root"])
    return {absolute(base, row.cells["path"]): row.cells[column] for row in table.rows}


def _splits(frames: Sequence[Frame]) -> list[str]:
    known = ["train", "val", "test"]
    found = {frame.split for frame in frames}
    return [split for split in known if split in found] + sorted(found - set(known))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CELL else f"{text[: _LONGEST_CELL - 1]}…"

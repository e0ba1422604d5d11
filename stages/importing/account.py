"""Account for all that an export lists: what was imported, and what was skipped and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from weakseg.errors import DataError
from weakseg.importers import Export, Marked, Skipped
from weakseg.labels import CLASS_NAMES
from weakseg.stages.importing.pictures import Row

WITHOUT_LABEL = "(none)"
SHOWN_LABELS = 8


@dataclass(frozen=True)
class Account:
    """What became of an export.

    Args:
        export: What the reader found.
        pictures: All that were tried, frames of clips included.
        rows: What was imported.
        skipped: What was not, from all steps; regions of imported pictures included.
    """

    export: Export
    pictures: Sequence[Marked]
    rows: Sequence[Row]
    skipped: Sequence[Skipped]

    def regions(self) -> dict[str, Any]:
        """Count the regions: found is always drawn and skipped together."""
        tallies = [row.tally for row in self.rows]
        fates = Counter(fate for tally in tallies for fate in tally.fates if fate)
        for one in self.skipped:
            if one.regions:
                fates[f"on a skipped {one.what}: {one.reason}"] += one.regions
        drawn = sum(tally.drawn for tally in tallies)
        return {
            "found": drawn + fates.total(),
            "drawn": drawn,
            "skipped": fates.total(),
            "skipped_because": dict(fates.most_common()),
            "by_shape": self._shapes(),
            "reaching_outside_the_picture": sum(tally.clipped for tally in tallies),
            "crowds": sum(tally.crowds for tally in tallies),
            "hidden_by_later_ones": sum(tally.hidden for tally in tallies),
            "pictures_with_overlaps": sum(tally.overlapping for tally in tallies),
        }

    def labels(self) -> dict[str, int]:
        """Count the classes and attribute values of the regions, wanted or not."""
        return dict(count_labels(self.pictures).most_common())

    def summary(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Tell all of it in JSON values."""
        pictures = Counter(one.reason for one in self.skipped if one.what in ("picture", "clip"))
        splits: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(CLASS_NAMES, 0))
        for row in self.rows:
            splits[row.split][CLASS_NAMES[row.label]] += 1
        return {
            "files": list(self.export.files),
            "frames": len(self.rows),
            "clips": len(self.export.clips),
            "skipped_pictures": sum(pictures.values()),
            "skipped_because": dict(pictures.most_common()),
            "regions": self.regions(),
            "labels": self.labels(),
            "splits": {split: dict(counts) for split, counts in splits.items()},
            "scenes": len({row.scene for row in self.rows if row.scene}),
            "frames_without_scene": sum(not row.scene for row in self.rows),
            "cameras": len({row.camera for row in self.rows if row.camera}),
            "masks": sum(bool(row.mask_path) for row in self.rows),
            "instance_maps": sum(bool(row.instances_path) for row in self.rows),
            "skipped": [asdict(one) for one in (*self.skipped, *self._lost_regions())],
            "config": dict(config),
        }

    def lines(self) -> Iterator[str]:
        """Tell the most of it in lines for a terminal."""
        summary = self.summary({})
        yield f"{summary['frames']} frames imported, {summary['skipped_pictures']} left out" + _why(
            summary["skipped_because"]
        )
        counted = summary["regions"]
        if counted["found"]:
            yield (
                f"{counted['found']} regions found = {counted['drawn']} drawn + "
                f"{counted['skipped']} skipped" + _why(counted["skipped_because"])
            )
        for name in ("reaching_outside_the_picture", "crowds", "hidden_by_later_ones"):
            if counted[name]:
                yield f"  {counted[name]} {name.replace('_', ' ')}"
        if summary["labels"]:
            yield f"labels of the regions: {told_labels(summary['labels'])}"
        for split, counts in summary["splits"].items():
            told = ", ".join(f"{count} {name}" for name, count in counts.items())
            yield f"  {split}: {told.replace('background', 'without smoke')}"
        yield (
            f"  {summary['scenes']} scenes, {summary['cameras']} cameras, "
            f"{summary['frames_without_scene']} frames without a scene"
        )

    def _shapes(self) -> dict[str, dict[str, int]]:
        """Count found and drawn regions by shape, on the pictures that were imported."""
        counts: dict[str, dict[str, int]] = defaultdict(lambda: {"found": 0, "drawn": 0})
        named = {one.name: one for one in self.pictures}
        for row in self.rows:
            regions = named[row.name].regions or ()
            for region, fate in zip(regions, row.tally.fates, strict=True):
                counts[region.kind]["found"] += 1
                counts[region.kind]["drawn"] += not fate
        return {kind: dict(count) for kind, count in counts.items()}

    def _lost_regions(self) -> Iterator[Skipped]:
        for row in self.rows:
            for number, fate in enumerate(row.tally.fates):
                if fate:
                    yield Skipped("region", f"{row.name}#{number}", fate, regions=1)


def count_labels(pictures: Sequence[Marked]) -> Counter[str]:
    """Count the labels of all regions."""
    return Counter(
        label
        for one in pictures
        for region in one.regions or ()
        for label in region.labels or (WITHOUT_LABEL,)
    )


def refuse_open_choice(pictures: Sequence[Marked]) -> None:
    """Refuse to take regions of several classes all for smoke without being told to.

    Raises:
        DataError: If regions differ in their labels and share none.
    """
    labels = {region.labels for one in pictures for region in one.regions or ()}
    if len(labels) > 1 and not set.intersection(*(set(found) for found in labels)):
        raise DataError(
            f"the regions have several labels ({told_labels(count_labels(pictures))}): say which "
            "are smoke by classes=[NAME,...], or classes=['*'] for all of them"
        )


def told_labels(counts: Mapping[str, int]) -> str:
    """Tell the most frequent labels, with how many regions have them."""
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    told = ", ".join(f"{label} {count}" for label, count in ordered[:SHOWN_LABELS])
    return told + (", ..." if len(ordered) > SHOWN_LABELS else "")


def _why(reasons: Mapping[str, int]) -> str:
    return (
        f" ({', '.join(f'{count} {reason}' for reason, count in reasons.items())})"
        if reasons
        else ""
    )

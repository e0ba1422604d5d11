"""Tell what a sweep has come to: `sweep.json` and `points.csv`, for people and for reports.

`sweep.json` holds

- `name`, `method`, `metric` (`name`, `goal`, `target`; null if there is none), `parameters` (as in
  the sweep file), `command` (which of weakseg's), `words` (what every point's command has in
  common), `file` (the sweep file's text), `seed` (of the search);
- `version` and `git_commit` of what wrote it last, `updated` (ISO 8601 in UTC);
- `total` (points the sweep has at most), `counts` (status -> points), `best` (number of the point
  with the best metric; null before there is one);
- `points`: all of them by number, with the fields of `weakseg.stages.sweeps.ledger.Point`, among
  them `parameters`, `status`, `metric`, `figures`, `run` (its folder, relative to the sweep's) and
  `command` (which makes the run again, from the folder in which the sweep was started).

`points.csv` holds a row for each point: the same, with a column `parameter/NAME` for each
parameter and one for each figure, by its own name (`figure/NAME` where that is taken, such as
`figure/seconds`). Of a grid whose file was changed, points that are no longer in it are in neither.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from weakseg.artifacts import Manifest, plain, read_json, write_json, write_text
from weakseg.artifacts.figures import flat
from weakseg.artifacts.finished import SWEEP
from weakseg.artifacts.manifest import COMPLETE, installed_version, now, source_commit
from weakseg.errors import ArtifactError
from weakseg.stages.sweeps.file import Metric, SweepFile
from weakseg.stages.sweeps.ledger import FINISHED, Point

TABLE: Final = "points.csv"
PARAMETER: Final = "parameter/"
FIGURE: Final = "figure/"
_COLUMNS: Final = (
    "number",
    "name",
    "status",
    "seed",
    "overrides",
    "seconds",
    "attempts",
    "started",
    "finished",
    "metric",
    "run",
    "command",
    "why",
    "version",
    "git_commit",
)


@dataclass(frozen=True)
class Progress:
    """How far a sweep is."""

    total: int
    counts: Mapping[str, int]
    best: Point | None

    @property
    def finished(self) -> int:
        """Points that are finished."""
        return self.counts.get(FINISHED, 0)


def figures_of(run: Path) -> dict[str, Any]:
    """Read the summary of a complete run: name -> number or word, nested names joined by `/`.

    Raises:
        ArtifactError: If the run is not complete.
    """
    status = Manifest.read(run).status
    if status != COMPLETE:
        raise ArtifactError(f"{run} is {status}, though its command ended well")
    return flat(read_json(run / "summary.json"))


def best_of(points: Sequence[Point], metric: Metric | None) -> Point | None:
    """Give the finished point with the best metric; the first of equals."""
    known = [one for one in points if one.status == FINISHED and one.metric is not None]
    if metric is None or not known:
        return None
    return max(known, key=lambda one: metric.sign * (one.metric or 0.0))


def write_results(
    output: Path,
    file: SweepFile,
    points: Sequence[Point],
    *,
    total: int,
    seed: int,
    made_by: Mapping[str, Any],
) -> Progress:
    """Write `sweep.json` and `points.csv` of the points that belong to the sweep."""
    best = best_of(points, file.metric)
    counts = dict(Counter(point.status for point in points))
    content = yaml.safe_load(file.text)
    write_text(output / TABLE, _table(points))
    write_json(
        output / SWEEP,
        plain(
            {
                "name": file.name,
                "method": file.method,
                "metric": None if file.metric is None else asdict(file.metric),
                "parameters": content["parameters"],
                "command": file.command,
                "words": list(file.words),
                "file": file.text,
                "seed": seed,
                "made_by": made_by,
                "version": installed_version(),
                "git_commit": source_commit(),
                "updated": now(),
                "total": total,
                "counts": counts,
                "best": None if best is None else best.number,
                "points": [asdict(point) for point in points],
            }
        ),
    )
    return Progress(total, counts, best)


def _table(points: Sequence[Point]) -> str:
    parameters = list(dict.fromkeys(key for point in points for key in point.parameters))
    figures = sorted({key for point in points for key in point.figures})
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    named = [FIGURE + key if key in _COLUMNS else key for key in figures]
    table.writerow([*_COLUMNS, *(PARAMETER + key for key in parameters), *named])
    for point in points:
        row = asdict(point) | {"overrides": " ".join(point.overrides)}
        table.writerow(
            [
                *(row[column] for column in _COLUMNS),
                *(point.parameters.get(key, "") for key in parameters),
                *(point.figures.get(key, "") for key in figures),
            ]
        )
    return written.getvalue()

"""Write out the commands of a unit, word for word as a user would type them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weakseg.artifacts import fingerprint
from weakseg.artifacts.manifest import installed_version
from weakseg.quoting import quoted
from weakseg.stages.ablation.frames import AblationFrames
from weakseg.stages.ablation.study import Row, Study, Unit
from weakseg.stages.ablation.words import (
    counts,
    files_in,
    merged,
    runs_anywhere,
    shortened,
)
from weakseg.stages.running import Step


@dataclass(frozen=True)
class Kitchen:
    """What all commands of an ablation share.

    Args:
        study: The rows.
        output: The ablation's folder.
        frames: What it is made of.
        stage1: Settings of every stage 1: the study's first, then the user's, which win over
            those of a row too.
        stage2: The same of every stage 2.
        hardware: Words that say where a command runs.
        threads: Of one command.
        jobs: Commands at once.
        hashes: Path -> hash of the weights that were hashed already.
    """

    study: Study
    output: Path
    frames: AblationFrames
    stage1: tuple[str, str]
    stage2: tuple[str, str]
    hardware: tuple[str, ...] = ()
    threads: int = 1
    jobs: int = 1
    hashes: dict[Path, str] = field(default_factory=dict, repr=False, compare=False)

    def stage1_folder(self, unit: Unit) -> Path:
        """Say where the stage-1 run of a unit lies."""
        return self.output / "stage1" / unit.row / f"seed{unit.seed}"

    def stage2_folder(self, unit: Unit) -> Path:
        """Say where the stage-2 run of a unit lies."""
        return self.output / "stage2" / unit.row / f"seed{unit.seed}"

    def folders(self, unit: Unit) -> list[Path]:
        """Say where the runs of a unit lie, those of what it builds on left out."""
        first = [self.stage1_folder(unit)] if self.study.rows[unit.row].stage1 else []
        return [*first, self.stage2_folder(unit)]

    def cams_for(self, unit: Unit) -> Path:
        """Say whose CAMs the stage 2 of a unit starts from."""
        if self.study.rows[unit.row].stage1:
            return self.stage1_folder(unit)
        parent = self.study.parent(unit)
        assert parent is not None, "a row without stage1 builds on another"
        return self.cams_of(parent)

    def cams_of(self, unit: Unit) -> Path:
        """Say which CAMs the rows take that build on a unit: its student's, or those it took."""
        if self.study.rows[unit.row].makes_student:
            return self.stage2_folder(unit) / "student"
        return self.cams_for(unit)

    def steps(self, unit: Unit) -> list[Step]:
        """List the commands that make and measure a unit."""
        row = self.study.rows[unit.row]
        found = [self._stage1(row, unit)] if row.stage1 else []
        words = {
            "cams": str(self.cams_for(unit)),
            "output": str(self.stage2_folder(unit)),
            "seed": str(unit.seed),
        }
        if row.also:
            words["ensemble"] = f"[{quoted(str(self.cams_of(Unit(row.also, unit.seed))))}]"
        settings = merged(self.stage2[0], row.stage2, self.stage2[1])
        if not any(word.startswith("cache=") for word in settings):
            words["cache"] = str(self.output / "cache")  # What rows and seeds have in common.
        found.append(Step("stage2", "stage2", (*self._on_hardware(settings), *_given(words))))
        return found + [self._measure(unit, split) for split in self.frames.judged]

    def _stage1(self, row: Row, unit: Unit) -> Step:
        words = {
            "data": "index",
            "data.index": str(self.frames.index),
            "data.root": str(self.frames.root),
            "output": str(self.stage1_folder(unit)),
            "seed": str(unit.seed),
        }
        parent = self.study.parent(unit)
        if parent is not None:
            words["trained"] = str(self.cams_of(parent))
        settings = merged(self.stage1[0], row.stage1, self.stage1[1])
        return Step("stage1", "stage1", (*self._on_hardware(settings), *_given(words)))

    def _on_hardware(self, settings: Sequence[str]) -> list[str]:
        """Add where the command runs, but what the settings say themselves."""
        said = {word.partition("=")[0] for word in settings}
        return [*settings, *(word for word in self.hardware if word.partition("=")[0] not in said)]

    def _measure(self, unit: Unit, split: str) -> Step:
        words = {
            "run": str(self.stage2_folder(unit)),
            "data": "index",
            "data.index": str(self.frames.truth),
            "data.root": str(self.frames.root),
            "split": split,
            "name": f"ablation-{split}",
            "resamples": "0",
            "report_frames": "0",
        }
        return Step(f"measure-{split}", "evaluate", (*_given(words), *self.hardware))

    def fingerprint(self, unit: Unit) -> str:
        """Hash all that a unit's figures depend on, as far as it is known without running it.

        That is its commands and those of what it builds on, the bytes of weights, frames and
        masks, and the version; not the defaults of the commands, which their runs check.
        """
        steps = self.steps(unit)
        parent = self.study.parent(unit)
        return fingerprint(
            {
                "commands": [
                    (step.command, self.portable(filter(counts, step.words))) for step in steps
                ],
                "parent": self.fingerprint(parent) if parent is not None else None,
                "files": files_in((word for step in steps for word in step.words), self.hashes),
                "frames": self.frames.content,
                "version": installed_version(),
            }
        )

    def recipe(self, row: str) -> str:
        """Hash how a row is made, whatever the seed: only such units go into one mean."""
        return self.fingerprint(Unit(row, 0))

    def portable_line(self, step: Step) -> str:
        """Give a command as it is typed, the folders of this machine replaced by names."""
        return Step(step.name, step.command, tuple(self.portable(step.words))).line

    def portable(self, words: Iterable[str]) -> list[str]:
        """Give the words without what another machine, or another folder, would change."""
        places = {str(self.output): "OUT", str(self.frames.root): "FRAMES"}
        return [shortened(word, places) for word in words if runs_anywhere(word)]


def _given(words: Mapping[str, str]) -> list[str]:
    lists = ("ensemble",)  # Quoted inside.
    return [f"{key}={value if key in lists else quoted(value)}" for key, value in words.items()]

"""Write out the commands of a unit, word for word as a user would type them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from weakseg.artifacts import fingerprint
from weakseg.artifacts.manifest import installed_version
from weakseg.data import sha256_of
from weakseg.stages.ablation_frames import AblationFrames
from weakseg.stages.ablation_study import Row, Study, Unit

_UNQUOTED: Final = re.compile(r"[\w./:@%+~-]*", re.ASCII)
_HARDWARE: Final = ("hardware.accelerator=", "hardware.threads=", "hardware.workers=")


@dataclass(frozen=True)
class Step:
    """One command of a unit.

    Args:
        name: What it does there: stage1, stage2, measure-val, measure-train.
        command: `stage1`, `stage2` or `evaluate`.
        words: What follows it.
    """

    name: str
    command: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        """As it is typed."""
        return shlex.join(["python", "-m", f"weakseg.{self.command}", *self.words])


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
    """

    study: Study
    output: Path
    frames: AblationFrames
    stage1: tuple[str, str]
    stage2: tuple[str, str]
    hardware: tuple[str, ...] = ()
    threads: int = 1

    def stage1_folder(self, unit: Unit) -> Path:
        """Say where the stage-1 run of a unit lies."""
        return self.output / "stage1" / unit.row / f"seed{unit.seed}"

    def stage2_folder(self, unit: Unit) -> Path:
        """Say where the stage-2 run of a unit lies."""
        return self.output / "stage2" / unit.row / f"seed{unit.seed}"

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
        """Hash all that a unit's figures depend on, as far as it is known without running it."""
        steps = self.steps(unit)
        parent = self.study.parent(unit)
        return fingerprint(
            {
                "commands": [(step.command, self.portable(step.words)) for step in steps],
                "parent": self.fingerprint(parent) if parent is not None else None,
                "files": files_in(word for step in steps for word in step.words),
                "frames": [sha256_of(self.frames.index), sha256_of(self.frames.truth)],
                "version": installed_version(),
            }
        )

    def portable_line(self, step: Step) -> str:
        """Give a command as it is typed, the folders of this machine replaced by names."""
        return Step(step.name, step.command, tuple(self.portable(step.words))).line

    def portable(self, words: Iterable[str]) -> list[str]:
        """Give the words without what another machine, or another folder, would change."""
        places = {str(self.output): "OUT", str(self.frames.root): "FRAMES"}
        kept = [word for word in words if not word.startswith(_HARDWARE)]
        return [shortened(word, places) for word in kept]


def merged(*settings: str) -> list[str]:
    """Join settings as they are typed; of a key given twice, the later one counts.

    A value that names a file of yours is quoted as Hydra wants it.
    """
    chosen: dict[str, str] = {}
    for text in settings:
        for word in shlex.split(text):
            key, equals, value = word.partition("=")
            bare = key.lstrip("+~")
            chosen.pop(bare, None)
            is_file = equals and not _UNQUOTED.fullmatch(value) and Path(value).exists()
            chosen[bare] = f"{key}={quoted(value)}" if is_file else word
    return list(chosen.values())


def quoted(value: str) -> str:
    """Quote a value for Hydra where its grammar asks for it."""
    if _UNQUOTED.fullmatch(value):
        return value
    # Only before a quote does a backslash mean anything there.
    inside = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), value)
    return f"'{inside}'"


def shortened(word: str, places: Mapping[str, str]) -> str:
    """Replace the folders of one machine by names; files elsewhere keep their own name alone."""
    key, equals, value = word.partition("=")
    if value.startswith("[/"):
        return f"{key}=[{shortened('=' + value[1:-1], places)[1:]}]"
    for folder, name in places.items():
        if value.strip("'") == folder or value.strip("'").startswith(f"{folder}/"):
            return key + equals + name + value.strip("'").removeprefix(folder)
    if equals and value.strip("'").startswith("/"):
        return key + equals + Path(value.strip("'")).name
    return word


def files_in(words: Iterable[str]) -> dict[str, str]:
    """Hash the weights that the words name, so that other weights of the same name count."""
    values = {word.partition("=")[2].strip("'") for word in words}
    paths = [Path(value) for value in values if "." in value]
    return {
        path.name: sha256_of(path)
        for path in sorted(paths)
        if path.suffix != ".csv" and path.is_file()
    }


def _given(words: Mapping[str, str]) -> list[str]:
    lists = ("ensemble",)  # Quoted inside.
    return [f"{key}={value if key in lists else quoted(value)}" for key, value in words.items()]

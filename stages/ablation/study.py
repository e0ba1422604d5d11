"""Read a study: its rows, how they build on each other, and which shard makes which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from weakseg.plans import StudyPlan
from weakseg.stages.ablation.words import safely_quoted
from weakseg.targets import ConfigurationError

GROUPS: Final = ("baseline", "consistency", "step", "combination", "rounds")
"""The parts of the table, in their order."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+.-]*")


@dataclass(frozen=True)
class Row:
    """One line of the table: what is run, and on what it builds.

    Args:
        name: Its folder's name, and what other rows call it.
        group: The part of the table it stands in.
        stage1: Settings of its own stage-1 run, as they are typed; empty for none.
        stage2: Settings of its stage-2 run.
        of: The row whose CAMs it refines; with `stage1`, the row whose trained classifier is
            looked at in another way.
        also: A row further up the same chain, whose CAMs are averaged with those of `of`.
        needs: Names among `weights` without which the row is left out.
        note: What the row shows, in a line.
    """

    name: str
    group: str
    stage1: str = ""
    stage2: str = ""
    of: str = ""
    also: str = ""
    needs: Sequence[str] = ()
    note: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be a folder, or cannot be made."""
        if not _NAME.fullmatch(self.name):
            raise ConfigurationError(
                f"study.rows: {self.name!r} is no name of a row: take letters, digits and _+.-"
            )
        if self.group not in GROUPS:
            known = ", ".join(GROUPS)
            raise ConfigurationError(
                f"study.rows: {self.name} has the group {self.group!r}: it must be one of {known}"
            )
        if not self.stage1 and not self.of:
            raise ConfigurationError(
                f"study.rows: {self.name} has no CAMs: give stage1 (settings of a run of its own) "
                "or of (the row whose CAMs it refines)"
            )

    @property
    def makes_student(self) -> bool:
        """Whether its stage 2 trains a student, whose CAMs those that build on it take."""
        choices = [word for word in self.stage2.split() if word.startswith("consistency=")]
        return bool(choices) and choices[-1] != "consistency=none"


@dataclass(frozen=True, order=True)
class Unit:
    """A row made with one seed: what is run, resumed and skipped as a whole."""

    row: str
    seed: int

    def __str__(self) -> str:
        return f"{self.row}/seed{self.seed}"


@dataclass(frozen=True)
class Study:
    """The rows that are made, in an order in which each comes after what it builds on.

    Args:
        rows: Name -> row.
        left_out: Name -> why it is not made.
    """

    rows: Mapping[str, Row]
    left_out: Mapping[str, str] = field(default_factory=dict)

    def lineage(self, name: str) -> list[Row]:
        """Give a row and those it builds on, itself first."""
        found = [self.rows[name]]
        while found[-1].of:
            found.append(self.rows[found[-1].of])
        return found

    def units(self, seeds: Iterable[int]) -> list[Unit]:
        """Give every row with every seed: a whole table of the first seed comes first."""
        return [Unit(name, seed) for seed in seeds for name in self.rows]

    def parent(self, unit: Unit) -> Unit | None:
        """Give the unit that has to be made before this one."""
        of = self.rows[unit.row].of
        return Unit(of, unit.seed) if of else None

    def builds_on(self, unit: Unit) -> list[Unit]:
        """Give the units whose CAMs it takes: its parent's, and those it averages in."""
        row = self.rows[unit.row]
        return [Unit(name, unit.seed) for name in (row.of, row.also) if name]

    def root(self, unit: Unit) -> Unit:
        """Give the unit at the start of the chain."""
        return Unit(self.lineage(unit.row)[-1].name, unit.seed)


def read_study(plan: StudyPlan, *, weights: Mapping[str, str | None], only: Sequence[str]) -> Study:
    """Check the rows of `plan` and order them.

    Args:
        plan: With its rows as plain mappings.
        weights: Name -> file, `hub` or `none`; rows that need one that is None are left out.
        only: Names of the rows wanted; what they build on is made too. Empty wants all.

    Raises:
        ConfigurationError: If a row is misspelt, builds on none that is there, or on itself.
    """
    rows = _by_name([_row(item, weights) for item in plan.rows])
    for name in only:
        _must_know(name, rows, "only")
    ordered = _ordered(rows)
    for row in ordered:
        if row.also and row.also not in {one.name for one in Study(rows).lineage(row.name)[1:]}:
            raise ConfigurationError(
                f"study.rows: {row.name}: also names {row.also}, which {row.name} does not build on"
            )
    left_out: dict[str, str] = {}
    for row in ordered:
        missing = [name for name in row.needs if weights.get(name) is None]
        if missing:
            left_out[row.name] = f"weights.{missing[0]} is not given"
        elif row.of in left_out:
            left_out[row.name] = f"builds on {row.of}, which is left out"
    wanted = {row.name: row for row in ordered if row.name not in left_out}
    if only:
        kept = {one.name for name in only if name in wanted for one in Study(wanted).lineage(name)}
        wanted = {name: row for name, row in wanted.items() if name in kept}
        left_out = {name: why for name, why in left_out.items() if name in only}
    if not wanted:
        raise ConfigurationError("study.rows: there is no row to make; choose study=full or quick")
    return Study(wanted, left_out)


def read_shard(text: str) -> tuple[int, int]:
    """Read `I/N`: this process makes part I, counted from 0, of N.

    Raises:
        ConfigurationError: If it is not that.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not int(found[1]) < int(found[2]):
        raise ConfigurationError(
            f"shard must be I/N with I from 0 to N - 1, such as 0/4, got {text!r}"
        )
    return int(found[1]), int(found[2])


def units_of_shard(study: Study, seeds: Sequence[int], shard: tuple[int, int]) -> list[Unit]:
    """Give the units of one shard: whole chains, dealt out so that shards are of like size."""
    index, count = shard
    chains: dict[Unit, int] = {}
    for unit in study.units(seeds):
        root = study.root(unit)
        chains[root] = chains.get(root, 0) + 1
    loads, chosen = [0] * count, set()
    for root, size in sorted(chains.items(), key=lambda item: (-item[1], item[0])):
        lightest = loads.index(min(loads))
        loads[lightest] += size
        if lightest == index:
            chosen.add(root)
    return [unit for unit in study.units(seeds) if study.root(unit) in chosen]


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that make no table.

    Raises:
        ConfigurationError: If there is none, or one stands there twice.
    """
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigurationError(
            f"seeds must be one or more different numbers from 0, such as [0,1,2], got {seeds}"
        )


def _row(item: Any, weights: Mapping[str, str | None]) -> Row:
    known = {one.name for one in fields(Row)}
    if not isinstance(item, Mapping) or not {"name", "group"} <= set(item):
        raise ConfigurationError(f"study.rows: a row needs a name and a group, got {item!r}")
    unknown = sorted(set(item) - known)
    if unknown:
        raise ConfigurationError(
            f"study.rows: {item['name']} has the unknown key {unknown[0]}: "
            f"a row has {', '.join(sorted(known))}"
        )
    values = {key: value for key, value in item.items() if value is not None}
    if isinstance(values.get("needs"), str):
        values["needs"] = [values["needs"]]
    for stage in {"stage1", "stage2"} & set(values):
        values[stage] = safely_quoted(values[stage], weights.values())
    return Row(**values)


def _by_name(rows: Sequence[Row]) -> dict[str, Row]:
    named: dict[str, Row] = {}
    for row in rows:
        if row.name in named:
            raise ConfigurationError(f"study.rows: {row.name} stands there twice")
        named[row.name] = row
    for row in rows:
        if row.of:
            _must_know(row.of, named, f"study.rows: {row.name}: of")
    return named


def _must_know(name: str, rows: Mapping[str, Row], where: str) -> None:
    if name not in rows:
        raise ConfigurationError(f"{where}: there is no row {name}, only {', '.join(rows)}")


def _ordered(rows: Mapping[str, Row]) -> list[Row]:
    """Put every row after the one it builds on, and else leave the order as it is."""
    done: dict[str, Row] = {}
    for row in rows.values():
        chain = [row]
        while chain[-1].of and chain[-1].of not in done:
            chain.append(rows[chain[-1].of])
            if len(chain) > len(rows):
                stuck = ", ".join(sorted({one.name for one in chain}))
                raise ConfigurationError(
                    f"study.rows: these build on each other in a circle: {stuck}"
                )
        done |= {one.name: one for one in reversed(chain)}
    return list(done.values())

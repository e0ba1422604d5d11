"""Run an ablation: make every row of a study with every seed, measure it, tell it in a table."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import ArtifactError, Manifest, plain, read_json, write_json, write_text
from weakseg.artifacts.finished import ABLATION
from weakseg.artifacts.manifest import COMPLETE, installed_version, source_commit
from weakseg.checks import check_at_least
from weakseg.data import DataError
from weakseg.errors import WeaksegError
from weakseg.plans import AblationPlan
from weakseg.processors import count_processors
from weakseg.stages.ablation.frames import (
    AblationFrames,
    choose_frames,
    frames_of_ablation,
    write_frames_of_ablation,
)
from weakseg.stages.ablation.page import write_page
from weakseg.stages.ablation.results import (
    Result,
    alike,
    all_results,
    figures_of,
    read_result,
    result_path,
    up_to_date,
)
from weakseg.stages.ablation.running import progress_line, run_units, seconds_left
from weakseg.stages.ablation.study import (
    Study,
    Unit,
    check_seeds,
    read_shard,
    read_study,
    units_of_shard,
)
from weakseg.stages.ablation.table import write_tables
from weakseg.stages.ablation.unit_commands import Kitchen
from weakseg.stages.running import Terminal, run_steps
from weakseg.training import StopFlag

log = logging.getLogger(__name__)

RECORD: Final = ABLATION


class UnitsFailed(WeaksegError):
    """Some units of an ablation could not be made; all others were."""


def run(plan: AblationPlan, config: Mapping[str, Any]) -> Path:
    """Make what is missing of the table of `plan`, and write it; give the page's path.

    A shard to which no unit fell, and which finds none finished, gives the folder.

    Raises:
        ConfigurationError: If jobs, seeds, shard or the study make no sense.
        UnitsFailed: If some units could not be made, after everything else is written.
    """
    output = Path(os.path.abspath(plan.output))  # noqa: PTH100 - resolve() would follow links
    check_at_least(1, jobs=plan.jobs)
    check_seeds(plan.seeds)
    study = read_study(plan.study, weights=plan.weights, only=plan.only)
    shard = read_shard(plan.shard)
    kitchen = _kitchen(plan, study, output)
    whole = read_study(plan.study, weights=plan.weights, only=[])
    table = dataclasses.replace(kitchen, study=whole)
    failed: dict[Unit, str] = {}
    if not plan.collect_only:
        mine = units_of_shard(study, plan.seeds, shard)
        failed = make_units(plan, kitchen, mine)
        if not mine and not up_to_date(table, all_results(table))[0]:
            log.info("shard %s has no unit: there are fewer chains of rows than shards", plan.shard)
            return output
    page = collect(plan, table, failed)
    log.info("table: %s; page: %s", page.with_suffix(".md"), page)
    if failed:
        raise UnitsFailed(_tell_failed(failed, kitchen))
    return page


def _kitchen(plan: AblationPlan, study: Study, output: Path) -> Kitchen:
    threads = plan.hardware.threads or max(1, count_processors() // plan.jobs)
    hardware = plan.hardware
    return Kitchen(
        study=study,
        output=output,
        frames=_frames(plan, output),
        stage1=(f"tracker=none {plan.study.stage1}", plan.stage1),
        stage2=(f"tracker=none {plan.study.stage2}", plan.stage2),
        hardware=(
            f"hardware.accelerator={hardware.accelerator}",
            f"hardware.precision={hardware.precision}",
            f"hardware.workers={hardware.workers}",
            f"hardware.threads={threads}",
        ),
        threads=threads,
        jobs=plan.jobs,
    )


def _frames(plan: AblationPlan, output: Path) -> AblationFrames:
    """Choose the frames and write their index, or open those of an ablation begun before."""
    if plan.collect_only:
        record = read_json(output / RECORD)
        return frames_of_ablation(output, Path(record["root"]), record.get("frames", ""))
    if plan.data is None:
        raise DataError(
            "an ablation needs frames: give data=index data.index=FILE.csv with masks of the val "
            "split (mask_path), or study=quick to try it on drawn ones"
        )
    frames = choose_frames(
        plan.data.frames(), train_frames=plan.train_frames, seed=plan.sample_seed
    )
    chosen = write_frames_of_ablation(
        output,
        frames,
        data=plan.data.settings(),
        train_masks=plan.train_masks,
        overwrite=plan.overwrite,
    )
    if not chosen.judged:
        raise DataError("no frame of val has a mask: an ablation measures, so give mask_path")
    write_json(output / RECORD, {"root": str(chosen.root), "frames": chosen.content})
    return chosen


def make_units(plan: AblationPlan, kitchen: Kitchen, units: list[Unit]) -> dict[Unit, str]:
    """Make and measure the units that are not finished; give those that failed, and why."""
    fingerprints = {unit: kitchen.fingerprint(unit) for unit in units}
    missing = _missing(kitchen, units, fingerprints)
    write_text(kitchen.output / "commands.txt", commands_text(kitchen, plan.seeds))
    log.info(
        "%d rows, %d seeds: %d units, %d of them finished before",
        len(kitchen.study.rows),
        len(plan.seeds),
        len(units),
        len(units) - len(missing),
    )
    terminal = Terminal({"OMP_NUM_THREADS": str(kitchen.threads)})
    took: dict[Unit, float] = {}

    def make(unit: Unit) -> bool:
        is_new = not any(folder.exists() for folder in kitchen.folders(unit))
        seconds = make_unit(kitchen, unit, fingerprints[unit], terminal)
        if is_new:  # What was begun before says little of how long others take.
            took[unit] = seconds
        return True

    def tell(unit: Unit, done: int, left: Sequence[Unit]) -> None:
        rows = kitchen.study.rows
        seconds = seconds_left(left, took, group_of=lambda u: rows[u.row].group, jobs=plan.jobs)
        log.info("%s", progress_line(unit, done, len(missing), seconds))

    with StopFlag() as stop:
        try:
            return run_units(
                kitchen.study,
                missing,
                jobs=plan.jobs,
                make=make,
                stop=stop,
                on_stop=terminal.stop,
                on_end=tell,
            )
        except BaseException:
            terminal.kill()
            raise


def make_unit(kitchen: Kitchen, unit: Unit, made_by: str, terminal: Terminal) -> float:
    """Run a unit's commands and write its result; give the seconds it took."""
    steps = kitchen.steps(unit)
    log_file = log_path(kitchen.output, unit)
    commit = source_commit()
    started = time.monotonic()
    run_steps(steps, log_file, terminal.run)
    seconds = time.monotonic() - started
    result = Result(
        unit=unit,
        group=kitchen.study.rows[unit.row].group,
        fingerprint=made_by,
        commands=[kitchen.portable_line(step) for step in steps],
        figures=plain(figures_of(kitchen, unit)),
        seconds=seconds,
        version=installed_version(),
        git_commit=commit,
        recipe=kitchen.recipe(unit.row),
        frames=kitchen.frames.content,
        threads=kitchen.threads,
        jobs=kitchen.jobs,
    )
    write_json(result_path(kitchen.output, unit), result.to_json())
    return seconds


def collect(plan: AblationPlan, kitchen: Kitchen, failed: Mapping[Unit, str]) -> Path:
    """Write the tables and the page from all that is finished, now or before, of any seed."""
    sort_out = alike if plan.collect_only else up_to_date
    results, stale = sort_out(kitchen, all_results(kitchen))
    log.info("%d units are finished", len(results))
    if stale:
        log.warning("stale, and left out: %s", ", ".join(map(str, stale)))
    if not results:
        if failed:
            raise UnitsFailed(_tell_failed(failed, kitchen))
        raise ArtifactError(f"{kitchen.output} holds no finished unit yet: leave collect_only out")
    title = plan.study.title
    write_tables(kitchen, results, title=title, failed=failed, stale=stale)
    return write_page(
        kitchen, results, title=title, pictures=plan.pictures, failed=failed, stale=stale
    )


def commands_text(kitchen: Kitchen, seeds: Sequence[int]) -> str:
    """Write every command of every unit, as this machine runs it."""
    lines = []
    for unit in kitchen.study.units(seeds):
        lines += [f"# {unit}", *(step.line for step in kitchen.steps(unit)), ""]
    return "\n".join(lines)


def log_path(output: Path, unit: Unit) -> Path:
    """Say where what a unit's commands said is kept."""
    return output / "logs" / unit.row / f"seed{unit.seed}.log"


def _missing(
    kitchen: Kitchen, units: Sequence[Unit], fingerprints: Mapping[Unit, str]
) -> list[Unit]:
    """Give the units to make: those without a result, and those whose CAMs others still need."""
    missing = set()
    for unit in reversed(units):  # Each comes after the one it builds on.
        result = read_result(result_path(kitchen.output, unit))
        if result is None or result.fingerprint != fingerprints[unit]:
            missing.add(unit)
        if unit in missing:
            sources = kitchen.study.builds_on(unit)
            missing |= {one for one in sources if not _is_complete(kitchen.cams_of(one))}
    return [unit for unit in units if unit in missing]


def _is_complete(folder: Path) -> bool:
    try:
        return Manifest.read(folder).status == COMPLETE
    except ArtifactError:
        return False


def _tell_failed(failed: Mapping[Unit, str], kitchen: Kitchen) -> str:
    told = "; ".join(
        f"{unit}: {why} ({log_path(kitchen.output, unit)})" for unit, why in failed.items()
    )
    return f"{len(failed)} units failed, and all others are done: {told}"

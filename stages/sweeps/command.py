"""Run a wandb sweep file without a server: here, in several processes, or as a Slurm array."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weakseg.artifacts import differences, fingerprint, read_json, write_text
from weakseg.artifacts.finished import SWEEP
from weakseg.checks import check_at_least
from weakseg.errors import ArtifactError, WeaksegError
from weakseg.plans import SweepPlan
from weakseg.processors import count_processors
from weakseg.stages.sweeps.file import find_sweep_file, read_sweep_file
from weakseg.stages.sweeps.ledger import FAILED, FINISHED, Ledger, Point, folder_name
from weakseg.stages.sweeps.page import PAGE
from weakseg.stages.sweeps.results import TABLE, Progress
from weakseg.stages.sweeps.running import Sweep, collect, make_points
from weakseg.stages.sweeps.search import Seen, build_search
from weakseg.targets import ConfigurationError
from weakseg.training import StopFlag

log = logging.getLogger(__name__)


class PointsFailed(WeaksegError):
    """Some points of a sweep failed; all others are finished."""


def run(plan: SweepPlan, config: Mapping[str, Any]) -> Path:
    """Make what is missing of the sweep of `plan`; give its folder.

    Raises:
        ConfigurationError: If the file or the plan make no sense.
        ArtifactError: If the folder holds another sweep, or foreign files.
        PointsFailed: If points failed, after all others were made.
        Interrupted: If it was stopped; the same command goes on from there.
    """
    check_at_least(1, jobs=plan.jobs)
    sweep = prepare(plan)
    if plan.dry:
        return _tell_commands(sweep)
    open_folder(sweep)
    if not plan.collect_only and plan.cluster is None:
        _log_start(sweep)
        with StopFlag() as stop:
            make_points(sweep, jobs=plan.jobs, stop=stop)
    elif not plan.collect_only:
        # Imported here: submitit is an extra.
        from weakseg.stages.sweeps.slurm import submit  # noqa: PLC0415

        submit(sweep)
    _tell_end(sweep, collect(sweep))
    return sweep.output


def prepare(plan: SweepPlan) -> Sweep:
    """Read the sweep file of `plan`, and check it; touch no folder."""
    path = find_sweep_file(plan.file)
    file = read_sweep_file(path, settings=shlex.split(plan.settings))
    if file.early_terminate and not plan.ignore_early_terminate:
        raise ConfigurationError(
            f"{path}: early_terminate needs wandb's server, which compares the curves of running "
            "runs: give ignore_early_terminate=true to run every point to its end, or use "
            "`wandb sweep` and `wandb agent`"
        )
    output = Path(plan.output or f"runs/sweeps/{file.name}")
    # On a cluster each task has its own cores, which only it can count.
    share = 0 if plan.cluster else max(1, count_processors() // plan.jobs)
    return Sweep(
        plan=plan,
        file=file,
        search=build_search(file, points=plan.points, seed=plan.seed),
        ledger=Ledger(output),
        output=output,
        threads=plan.hardware.threads or share,
    )


def open_folder(sweep: Sweep) -> None:
    """Make the folder, or check that the sweep in it is the one asked for.

    Raises:
        ArtifactError: If it is another, or no sweep at all.
    """
    output, record = sweep.output, sweep.output / SWEEP
    foreign = output.is_dir() and any(not one.name.startswith(".") for one in output.iterdir())
    if foreign and not record.exists() and not (output / "ledger").is_dir():
        raise ArtifactError(f"{output} holds files that no sweep made: choose another output")
    with sweep.ledger.locked():
        if record.exists():
            found = read_json(record).get("made_by", {})
            if fingerprint(found) != fingerprint(sweep.made_by):
                told = "; ".join(differences(found, sweep.made_by)[:4])
                raise ArtifactError(
                    f"{output} holds a sweep made otherwise ({told}): choose another output"
                )
        write_text(output / "sweep.yaml", sweep.file.text)
    collect(sweep)


def _tell_commands(sweep: Sweep) -> Path:
    """Log the command of each point of a grid or a draw; of bayes, those drawn by chance."""
    history: list[Seen] = []
    while len(history) < sweep.search.total:
        values = sweep.search.propose(history)
        if values is None or (sweep.file.method == "bayes" and history):
            break
        overrides = sweep.file.overrides(values)
        point = Point(len(history), folder_name(overrides), values, overrides)
        log.info("%s", sweep.step(point).line)
        history.append(Seen(values))
    log.info("%d points at most; nothing was run", sweep.search.total)
    return sweep.output


def _log_start(sweep: Sweep) -> None:
    known = sweep.ledger.statuses()
    points = [one for one in known if sweep.search.includes(one.parameters)]
    told = {status: sum(one.status == status for one in points) for status in (FINISHED, FAILED)}
    log.info(
        "%s: %d points by %s, %d of them finished before%s",
        sweep.file.name,
        sweep.search.total,
        sweep.file.method,
        told[FINISHED],
        f", {told[FAILED]} failed" if told[FAILED] else "",
    )


def _tell_end(sweep: Sweep, progress: Progress) -> None:
    """Say what was found; the failed points last."""
    best, metric = progress.best, sweep.file.metric
    if best is not None and metric is not None:
        log.info("best %s: %.4g, %s", metric.name, best.metric, " ".join(best.overrides))
    told = ", ".join(f"{count} {status}" for status, count in sorted(progress.counts.items()))
    log.info("%s", told or "no point yet")
    log.info("table: %s; report: %s", sweep.output / TABLE, sweep.output / PAGE)
    failed = [one for one in sweep.ledger.points() if one.status == FAILED]
    failed = [one for one in failed if sweep.search.includes(one.parameters)]
    if failed:
        logs = "; ".join(f"{p.name}: {p.why} ({sweep.ledger.log_file(p)})" for p in failed[:5])
        raise PointsFailed(
            f"{len(failed)} of {progress.total} points failed: {logs}; once that is mended, "
            "retry=true makes them again"
        )

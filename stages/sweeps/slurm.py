"""Run a sweep as a Slurm job array: each task makes the next point that nobody has taken."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from typing import Any, Final

from weakseg.checks import check_at_least, check_one_of
from weakseg.plans import SweepPlan
from weakseg.stages.running import POLL_SECONDS
from weakseg.stages.sweeps.ledger import FAILED, FINISHED
from weakseg.stages.sweeps.running import Sweep, make_points
from weakseg.targets import ConfigurationError
from weakseg.training import StopFlag

log = logging.getLogger(__name__)

CLUSTERS: Final = ("slurm", "local", "debug")
_SAVING_SECONDS: Final = 80.0
"""Slurm kills a task some 90 seconds after submitit was told (its `signal_delay_s`)."""
_TIMEOUTS: Final = "slurm_max_num_timeout"
_MOST_TIMEOUTS: Final = 1000
"""How often a task goes on in the queue when its time is up, if nothing else is said."""


class PointTask:
    """One task of the array; submitit pickles it, and calls it on a node.

    A task that is told to stop by SIGTERM lets its run save its state and ends; the same sweep,
    started again, goes on there. When its time is nearly up, or it is preempted, Slurm sends
    SIGUSR2: then `checkpoint` does the same, and has the task put back into the queue.

    Args:
        plan: Of the sweep, as it was asked for.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self.plan = plan
        self._stop = StopFlag()
        self._worker: threading.Thread | None = None

    def __call__(self) -> None:
        """Make one point.

        Raises:
            Interrupted: If it was told to stop.
        """
        from weakseg.stages.sweeps.command import prepare  # noqa: PLC0415 - which imports this module

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        sweep, problems = prepare(self.plan), list[BaseException]()

        def work() -> None:
            try:
                make_points(sweep, jobs=1, stop=self._stop, count=1)
            except BaseException as problem:  # Told again by the main thread.
                problems.append(problem)

        # submitit ignores SIGTERM; the flag takes it over. The work is done in a thread, so that
        # the handler of SIGUSR2, which runs in this one, can wait for its end.
        self._worker = threading.Thread(target=work)
        with self._stop:
            self._worker.start()
            while self._worker.is_alive():
                self._worker.join(POLL_SECONDS)
        if problems:
            raise problems[0]

    def checkpoint(self) -> Any:
        """Let the run save its state, and ask for the same task again."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415 - an extra

        self._stop.set("preemption")
        if self._worker is not None:
            self._worker.join(_SAVING_SECONDS)
        return DelayedSubmission(PointTask(self.plan))


def submit(sweep: Sweep) -> None:
    """Submit a task for every point that is missing; `jobs` of them run at once.

    Tasks that find nothing left to do end at once, so submitting twice does no harm. With
    `cluster=local` or `debug` the tasks run here, and are waited for; those of `debug` in this
    process, one after the other.

    Raises:
        ConfigurationError: If the cluster is unknown, or submitit or Slurm is missing.
    """
    plan = sweep.plan
    check_one_of(CLUSTERS, cluster=plan.cluster)
    if plan.cluster == "slurm" and shutil.which("sbatch") is None:
        raise ConfigurationError(
            "cluster: this machine knows no Slurm (sbatch is not found): start the sweep on a "
            "login node, or leave cluster out to run it here"
        )
    count = missing(sweep)
    if count == 0:
        log.info("nothing left to submit")
        return
    executor = _executor(sweep)
    if plan.cluster != "slurm":
        _run_here(executor, plan, count)
        return
    with executor.batch():
        jobs = [executor.submit(PointTask(plan)) for _ in range(count)]
    log.info("%d tasks submitted, %d at once: %s", count, plan.jobs, jobs[0].job_id)
    log.info("collect_only=true tells how far they are")


def _run_here(executor: Any, plan: SweepPlan, count: int) -> None:
    """Start a task whenever one has ended: submitit itself would start all of them at once."""
    running: list[Any] = []
    left = count
    while running or left:
        while left and len(running) < plan.jobs:
            running.append(executor.submit(PointTask(plan)))
            left -= 1
        # In this process a job runs when it is asked for its end; `done` would open a debugger.
        for job in [one for one in running if plan.cluster == "debug" or one.done()]:
            running.remove(job)
            problem = job.exception()
            if problem is not None:
                why = str(problem).strip().splitlines()[-1]
                log.warning("task %s failed: %s", job.job_id, why)
        if running:
            time.sleep(POLL_SECONDS)


def missing(sweep: Sweep) -> int:
    """Count the points that are still to be made."""
    points = [one for one in sweep.ledger.points() if sweep.search.includes(one.parameters)]
    done = (FINISHED,) if sweep.plan.retry else (FINISHED, FAILED)
    return max(sweep.search.total, len(points)) - sum(one.status in done for one in points)


def _executor(sweep: Sweep) -> Any:
    try:
        import submitit  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            "cluster: submitit is not installed: pip install 'weakseg[slurm]'"
        ) from error
    known = {key: value for key, value in sweep.plan.slurm.items() if value is not None}
    timeouts = known.pop(_TIMEOUTS, _MOST_TIMEOUTS)
    check_at_least(0, **{f"slurm.{_TIMEOUTS}": timeouts})
    executor = submitit.AutoExecutor(
        sweep.output / "slurm",
        cluster=sweep.plan.cluster,
        slurm_max_num_timeout=timeouts,
        local_max_num_timeout=timeouts,
    )
    try:
        executor.update_parameters(
            name=sweep.file.name, slurm_array_parallelism=sweep.plan.jobs, **known
        )
    except (NameError, TypeError) as error:  # submitit's word for settings it does not know.
        raise ConfigurationError(f"slurm: {' '.join(str(error).split())}") from error
    return executor

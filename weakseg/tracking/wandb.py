"""Track runs with Weights & Biases: inside the run folder, offline by default, never in the way."""

from __future__ import annotations

import functools
import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import plain, read_json, write_json, write_text
from weakseg.artifacts.manifest import installed_version, source_commit
from weakseg.checks import check_one_of, check_positive
from weakseg.tracking import wandb_objects as objects
from weakseg.tracking.goals import goal_of
from weakseg.tracking.journal import Journal
from weakseg.tracking.tracker import Cell, Panel, Value

log = logging.getLogger(__name__)

FOLDER: Final = "wandb"
RUN_ID: Final = "wandb_id.txt"
ARTIFACT: Final = "artifact.json"
"""In `FOLDER`: what the run keeps as its artifact, for the runs that are made of it."""
PLACE: Final = "place.txt"
"""Beside a log of wandb's: the run folder, as wandb names tables and artifacts by their path."""
_MODES: Final = ("offline", "online", "disabled")
_BESIDE: Final = ("images", "table", "artifact", "made_of")
"""What may be missing: figures go on without it."""
_VARIABLES: Final = (
    "WANDB_DIR",
    "WANDB_DATA_DIR",
    "WANDB_CACHE_DIR",
    "WANDB_ARTIFACT_DIR",
    "WANDB_CONFIG_DIR",
)


@dataclass
class WandbTracker:
    """Log to Weights & Biases; a failure is told once, and then the run goes on without it.

    Offline runs are uploaded later by `python -m weakseg.sync`.

    Args:
        mode: "offline" (no login, no network), "online" (falls back to offline when it cannot
            connect, and never asks for a login) or "disabled".
        project: Where runs are gathered.
        entity: Account or team; the login's own if None.
        tags: Words to find the run by.
        artifacts: Whether CAMs, pseudo-masks and models are kept as artifacts, and uploaded with
            the run; figures, pictures and tables are in any case.
        init_timeout_seconds: How long to wait for the server before going offline, > 0.
        finish_timeout_seconds: How long an online run waits at its end for what is not uploaded
            yet, > 0; what is left then stays in the run folder.
    """

    mode: str = "offline"
    project: str = "weakseg"
    entity: str | None = None
    tags: Sequence[str] = ()
    artifacts: bool = True
    init_timeout_seconds: float = 10.0
    finish_timeout_seconds: float = 600.0
    _run: Any = field(default=None, init=False, repr=False)
    _folder: Path = field(default=Path(), init=False, repr=False)
    _journal: Journal | None = field(default=None, init=False, repr=False)
    _row: int = field(default=0, init=False, repr=False)
    _defined: set[str] = field(default_factory=set, init=False, repr=False)
    _environment: dict[str, str | None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_one_of(_MODES, mode=self.mode)
        check_positive(
            init_timeout_seconds=self.init_timeout_seconds,
            finish_timeout_seconds=self.finish_timeout_seconds,
        )

    def start(
        self,
        run_dir: Path,
        *,
        name: str,
        group: str | None,
        job_type: str,
        config: Mapping[str, Any],
    ) -> None:
        """Begin the run, or take it up again under the id kept in `run_dir`.

        Of a sweep's run, `config["tracking"]` names group and point, which become tags; under
        `code`, every run's config says which version of weakseg made it.
        """
        if self.mode == "disabled" or self._run is not None:
            return
        arguments = {
            "name": name,
            "group": group,
            "job_type": job_type,
            "config": {**plain(config), "code": _code()},
            "project": self.project,
            "entity": self.entity,
            "tags": objects.tags(self.tags, config),
        }
        self._guard("start", lambda: self._start(Path(run_dir), arguments))

    def log(self, row: Mapping[str, Value], step: int) -> None:
        """Add a row of figures at `step`."""
        self._guard("log", lambda: self._tell(plain(row), step))

    def images(self, key: str, panels: Sequence[Path | Panel], step: int) -> None:
        """Show picture files, or frames with masks over them, under `key`."""
        self._guard("images", lambda: self._tell({key: objects.images(panels)}, step))

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        """Show a table under `key`."""
        self._guard("table", lambda: self._tell({key: objects.table(columns, rows)}))

    def artifact(
        self,
        name: str,
        type: str,
        paths: Sequence[Path],
        *,
        alias: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep files and folders of the run under `name`, as one version of an artifact."""
        if self.artifacts:
            known = {"name": name, "type": type, "alias": alias, "metadata": metadata or {}}
            self._guard("artifact", lambda: self._keep(known, paths))

    def made_of(self, run_dirs: Sequence[Path]) -> None:
        """Say whose artifacts this run was made of; runs that kept none are passed over.

        wandb knows an artifact again by its name and content, so that the version which the
        earlier run kept and the one named here are one, whichever is uploaded first.
        """
        for run_dir in run_dirs if self.artifacts else []:
            self._guard("made_of", functools.partial(self._use, Path(run_dir)))

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Close with the final figures; any status but "finished" marks the run as failed."""
        self._guard("finish", lambda: self._finish(summary, status))
        self._run = None
        self._restore_environment()

    def _start(self, run_dir: Path, arguments: dict[str, Any]) -> None:
        self._folder = folder = (run_dir / FOLDER).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self._set_environment(folder)
        arguments |= {"dir": str(run_dir.resolve()), "id": _run_id(run_dir), "resume": "allow"}
        self._run = self._connect(arguments)
        write_text(Path(self._run.dir).parent / PLACE, f"{run_dir.resolve()}\n")
        self._run.define_metric("*", step_metric="step")
        self._defined = set()
        self._journal = journal = Journal(folder)
        # Offline, wandb numbers the rows of every start from 0, and those of a resumed run would
        # take the places of its first ones.
        self._row = max(journal.count, self._run.step)
        for row in journal.lost() if self._run.offline else []:
            self._tell(row)

    def _connect(self, arguments: dict[str, Any]) -> Any:
        import wandb  # noqa: PLC0415 - its import takes a second that other trackers need not pay

        settings = wandb.Settings(
            init_timeout=self.init_timeout_seconds,
            finish_timeout=self.finish_timeout_seconds,
            console="off",  # it would swallow the terminal of the progress bars
            silent=True,
            disable_git=True,
            save_code=False,
        )
        if self.mode == "online":
            try:
                return wandb.init(**arguments, mode="online", settings=settings)
            except (wandb.Error, OSError, TimeoutError) as error:
                log.warning(
                    "wandb cannot connect (%s): going on offline; upload later with "
                    "`python -m weakseg.sync`",
                    _one_line(error),
                )
                # Its service still holds the id of the run that timed out, and would refuse it.
                wandb.teardown()
        return wandb.init(**arguments, mode="offline", settings=settings)

    def _tell(self, row: Mapping[str, Any], step: int | None = None) -> None:
        self._define(row)
        # Our step is a figure beside wandb's own, which must never go back: ours does when a
        # second training begins.
        told = {**row} if step is None else {**row, "step": step}
        self._run.log(told, step=self._row, commit=True)
        self._row += 1
        if self._journal is not None:
            self._journal.add(told)

    def _define(self, row: Mapping[str, Any]) -> None:
        """Say of each new figure which of its values a run is judged by, where one is better."""
        for name, value in row.items():
            goal = goal_of(name) if isinstance(value, int | float) else None
            if goal is not None and name not in self._defined:
                self._run.define_metric(name, step_metric="step", summary=goal)
                self._defined.add(name)

    def _keep(self, known: Mapping[str, Any], paths: Sequence[Path]) -> None:
        made = objects.artifact(known["name"], known["type"], paths, known["metadata"])
        self._run.log_artifact(made, aliases=["latest", *_alias(known)])
        # Relative, as run folders are moved.
        names = [path.resolve().relative_to(self._folder.parent).as_posix() for path in paths]
        write_json(self._folder / ARTIFACT, {**plain(known), "paths": names})

    def _use(self, run_dir: Path) -> None:
        record = run_dir / FOLDER / ARTIFACT
        if not record.exists():
            return
        known = read_json(record)
        paths = [run_dir / name for name in known["paths"]]
        used = objects.artifact(known["name"], known["type"], paths, known["metadata"])
        # What wandb's `use_artifact` does itself, but for refusing to do it offline, and for
        # waiting until all is uploaded.
        self._run._log_artifact(
            used, aliases=_alias(known), is_user_created=True, use_after_commit=True
        )

    def _finish(self, summary: Mapping[str, Any], status: str) -> None:
        figures = plain(summary)
        self._define(figures)
        self._run.summary.update({**figures, "status": status})
        self._run.finish(exit_code=0 if status == "finished" else 1)
        if self._journal is not None:
            self._journal.close()

    def _guard(self, what: str, action: Callable[[], None]) -> None:
        """Do `action` on the open run; if it fails, leave it out or switch tracking off."""
        if self._run is None and what != "start":
            return
        try:
            action()
        except Exception as error:
            # Broad on purpose: whatever a tracker meets, a run of hours must not die of it.
            if what in _BESIDE:
                log.warning("wandb failed at %s (%s): left out", what, _one_line(error))
                return
            log.warning(
                "wandb failed at %s (%s): the run goes on without it; its figures are in "
                "metrics.jsonl and summary.json",
                what,
                _one_line(error),
            )
            self._run = None
            self._restore_environment()

    def _set_environment(self, folder: Path) -> None:
        self._environment = {name: os.environ.get(name) for name in _VARIABLES}
        os.environ.update(dict.fromkeys(_VARIABLES, str(folder)))

    def _restore_environment(self) -> None:
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment = {}


def _code() -> dict[str, str]:
    """Say what made the run; the commit is empty outside a checkout."""
    return {"version": installed_version(), "git_commit": source_commit()}


def _alias(known: Mapping[str, Any]) -> list[str]:
    return [known["alias"]] if known["alias"] else []


def _run_id(run_dir: Path) -> str:
    """The id kept in the run folder, so that a resumed run stays one run."""
    path = run_dir / RUN_ID
    if not path.exists():
        # `wandb agent` has chosen one, and wandb takes no other.
        chosen = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        write_text(path, (chosen or secrets.token_hex(4)) + "\n")
    return path.read_text(encoding="ascii").strip()


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

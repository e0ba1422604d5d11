"""Track runs with Weights & Biases: inside the run folder, offline by default, never in the way."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import plain, write_text
from weakseg.artifacts.manifest import installed_version, source_commit
from weakseg.checks import check_one_of, check_positive
from weakseg.labels import CLASS_NAMES, IGNORE
from weakseg.tracking.tracker import Panel, Value

log = logging.getLogger(__name__)

FOLDER: Final = "wandb"
RUN_ID: Final = "wandb_id.txt"
_MODES: Final = ("offline", "online", "disabled")
_VARIABLES: Final = (
    "WANDB_DIR",
    "WANDB_DATA_DIR",
    "WANDB_CACHE_DIR",
    "WANDB_ARTIFACT_DIR",
    "WANDB_CONFIG_DIR",
)
_LONGEST_TAG: Final = 64
_CLASS_LABELS: Final = {**dict(enumerate(CLASS_NAMES)), IGNORE: "ignore"}


@dataclass
class WandbTracker:
    """Log to Weights & Biases; a failure is told once, and then the run goes on without it.

    Offline runs are uploaded later by `wandb sync RUN/wandb/offline-run-*`.

    Args:
        mode: "offline" (no login, no network), "online" (falls back to offline when it cannot
            connect, and never asks for a login) or "disabled".
        project: Where runs are gathered.
        entity: Account or team; the login's own if None.
        tags: Words to find the run by.
        init_timeout_seconds: How long to wait for the server before going offline, > 0.
    """

    mode: str = "offline"
    project: str = "weakseg"
    entity: str | None = None
    tags: Sequence[str] = ()
    init_timeout_seconds: float = 10.0
    _run: Any = field(default=None, init=False, repr=False)
    _environment: dict[str, str | None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        check_one_of(_MODES, mode=self.mode)
        check_positive(init_timeout_seconds=self.init_timeout_seconds)

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
            "tags": _tags(self.tags, config),
        }
        self._guard("start", lambda: self._start(Path(run_dir), arguments))

    def log(self, row: Mapping[str, Value], step: int) -> None:
        """Add a row of figures at `step`."""
        # The step is a figure of its own: wandb drops rows whose own step goes back on a resume.
        self._guard("log", lambda: self._run.log({**plain(row), "step": step}))

    def images(self, key: str, panels: Sequence[Path | Panel], step: int) -> None:
        """Show picture files, or frames with masks over them, under `key`."""
        self._guard("images", lambda: self._run.log({key: list(map(_image, panels)), "step": step}))

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
        """Show a table under `key`."""
        self._guard("table", lambda: self._run.log({key: _table(columns, rows)}))

    def artifact(self, name: str, type: str, paths: Sequence[Path]) -> None:
        """Keep files and folders under `name`, as one version of an artifact."""
        self._guard("artifact", lambda: self._run.log_artifact(_artifact(name, type, paths)))

    def finish(self, summary: Mapping[str, Any], status: str) -> None:
        """Close with the final figures; any status but "finished" marks the run as failed."""
        self._guard("finish", lambda: self._finish(summary, status))
        self._run = None
        self._restore_environment()

    def _start(self, run_dir: Path, arguments: dict[str, Any]) -> None:
        folder = (run_dir / FOLDER).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        self._set_environment(folder)
        arguments |= {"dir": str(run_dir.resolve()), "id": _run_id(run_dir), "resume": "allow"}
        self._run = self._connect(arguments)
        self._run.define_metric("*", step_metric="step")

    def _connect(self, arguments: dict[str, Any]) -> Any:
        import wandb  # noqa: PLC0415 - its import takes a second that other trackers need not pay

        settings = wandb.Settings(
            init_timeout=self.init_timeout_seconds,
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
                    "wandb cannot connect (%s): going on offline; upload later with `wandb sync`",
                    _one_line(error),
                )
                # Its service still holds the id of the run that timed out, and would refuse it.
                wandb.teardown()
        return wandb.init(**arguments, mode="offline", settings=settings)

    def _finish(self, summary: Mapping[str, Any], status: str) -> None:
        self._run.summary.update({**plain(summary), "status": status})
        self._run.finish(exit_code=0 if status == "finished" else 1)

    def _guard(self, what: str, action: Callable[[], None]) -> None:
        """Do `action` on the open run; on the first failure warn, and switch tracking off."""
        if self._run is None and what != "start":
            return
        try:
            action()
        except Exception as error:
            # Broad on purpose: whatever a tracker meets, a run of hours must not die of it.
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


def _tags(own: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Join a run's own tags with the sweep it belongs to and its point there."""
    tracking = config.get("tracking") or {}
    group, point = tracking.get("group") or "", tracking.get("point") or []
    named = [*own, *([group] if group else []), *point]
    return list(dict.fromkeys(tag[:_LONGEST_TAG] for tag in named if tag))


def _run_id(run_dir: Path) -> str:
    """The id kept in the run folder, so that a resumed run stays one run."""
    path = run_dir / RUN_ID
    if not path.exists():
        # `wandb agent` has chosen one, and wandb takes no other.
        chosen = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
        write_text(path, (chosen or secrets.token_hex(4)) + "\n")
    return path.read_text(encoding="ascii").strip()


def _image(panel: Path | Panel) -> Any:
    import wandb  # noqa: PLC0415

    if isinstance(panel, Path):
        return wandb.Image(str(panel))
    masks = {
        name: {"mask_data": mask, "class_labels": _CLASS_LABELS}
        for name, mask in panel.masks.items()
    }
    return wandb.Image(panel.frame, masks=masks or None, caption=panel.caption or None)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Value]]) -> Any:
    import wandb  # noqa: PLC0415

    return wandb.Table(columns=list(columns), data=[list(plain(list(row))) for row in rows])


def _artifact(name: str, type: str, paths: Sequence[Path]) -> Any:
    import wandb  # noqa: PLC0415

    artifact = wandb.Artifact(name, type=type)
    for root in paths:
        files = sorted(root.rglob("*")) if root.is_dir() else [root]
        for path in files:
            if path.is_file():
                # Immutable: products are never rewritten, so no second copy is staged.
                relative = path.relative_to(root.parent).as_posix()
                artifact.add_file(str(path.resolve()), name=relative, policy="immutable")
    return artifact


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

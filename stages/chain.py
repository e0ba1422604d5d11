"""Run stages one on the other as one run with one summary: what a sweep over several varies."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import ArtifactError, fingerprint, plain, read_json
from weakseg.artifacts.figures import flat
from weakseg.artifacts.lock import FolderLock
from weakseg.artifacts.manifest import installed_version
from weakseg.plans import ChainPlan
from weakseg.quoting import quoted, unquoted
from weakseg.report import Report, Table, write_report
from weakseg.stages.running import POLL_SECONDS, Step, Terminal, run_steps, run_watched
from weakseg.stages.work import Work, at_work
from weakseg.targets import ConfigurationError
from weakseg.training import Interrupted

log = logging.getLogger(__name__)

LINKS: Final = ("stage1", "stage2", "stage3", "evaluate")
_INPUT: Final = {"stage2": "cams", "stage3": "pseudo_masks", "evaluate": "run"}
_MEASURED: Final = "chain"
"""What the evaluation is called in the folder of the run it measures."""
_OWN_VARIABLES: Final = (
    "WANDB_SWEEP_ID",
    "WANDB_RUN_ID",
    "WANDB_SWEEP_PARAM_PATH",
    "WANDB_RESUME",
    "WANDB_SERVICE",
)
"""What `wandb agent` tells the chain's own run, and its stages are not to be taken for; and where
its wandb service listens, in which a stage could not go offline when there is no server."""
_SHARED_WAY_OUT: Final = (
    "other chains start from it: give another shared=FOLDER, or of a sweep another output"
)
_COMPLETE_WAY_OUT: Final = (
    "the chain is complete, and its figures are of what was there then: choose another output "
    "folder, or make all of it again with overwrite=true"
)


@dataclass(frozen=True)
class Link:
    """One command of a chain.

    Args:
        name: Which of `LINKS`.
        step: The command.
        folder: The run it makes; of an evaluation, the run it measures.
        turns: Where those who share the run wait for each other; None for a run of the chain's.
    """

    name: str
    step: Step
    folder: Path
    turns: Path | None = None


def run(plan: ChainPlan, config: Mapping[str, Any]) -> Path:
    """Run the stages of `plan`; give the chain's folder.

    Those of a complete chain, too: only they can tell whether their frames are still the same.

    Raises:
        ConfigurationError: If the stages do not follow from each other.
        StepFailed: If one of them fails, in its own words.
        Interrupted: If it was stopped; the same command goes on from there.
    """
    links = links_of(plan, config)
    with at_work(plan, config, kind="chain", inputs={}, data={}) as work:
        before = read_json(work.run.summary_path) if work.run.is_complete else None
        if before is not None:
            log.info("making sure that its stages would be made the same")
        started = time.monotonic()
        terminal = Terminal(dict.fromkeys(_OWN_VARIABLES))
        run_watched(lambda: _run_links(links, work, terminal), stop=work.stop, terminal=terminal)
        seconds = time.monotonic() - started if before is None else before["seconds"]
        summary = summarise(links) | {"seconds": seconds}
        if before is None:
            work.tracker.finish(summary, "finished")
        if summary != before:
            _write_page(work, links, summary)
            work.run.finish(summary)
            log.info("figures: %s", work.run.summary_path)
        return work.run.path


def links_of(plan: ChainPlan, config: Mapping[str, Any]) -> list[Link]:
    """Write out the commands, each with the run before it as its input.

    Raises:
        ConfigurationError: If a stage is unknown, out of order, or has no input.
    """
    if not plan.stages or [one for one in LINKS if one in plan.stages] != list(plan.stages):
        raise ConfigurationError(
            f"stages must be some of {', '.join(LINKS)}, in that order, got {list(plan.stages)}"
        )
    unused = [one for one in LINKS if getattr(plan, one) and one not in plan.stages]
    if unused:
        raise ConfigurationError(
            f"{unused[0]}: its settings count for nothing, as stages={list(plan.stages)}"
        )
    links: list[Link] = []
    for name in plan.stages:
        links.append(_link(plan, config, name, links[-1] if links else None))
    return links


def _link(plan: ChainPlan, config: Mapping[str, Any], name: str, before: Link | None) -> Link:
    own = list(getattr(plan, name))
    said = {word.lstrip("+~").partition("=")[0] for word in own}
    words = {"seed": str(plan.seed), **_on_hardware(config)}
    needed = _INPUT.get(name)
    if needed and needed not in said:
        if before is None:
            raise ConfigurationError(
                f"{name} needs the run it starts from: add the stage before it to stages, or give "
                f"{name}.{needed}=RUN"
            )
        words[needed] = quoted(str(before.folder))
    if name == "evaluate":
        folder, turns = Path(unquoted(words.get("run") or _value(own, "run"))), None
        is_own = folder.parent == Path(plan.output)
        # Others, too, may measure what is not the chain's own.
        words["name"] = _MEASURED if is_own else f"{_MEASURED}-{fingerprint(plan.output)[:8]}"
    else:
        if "output" in said:
            raise ConfigurationError(f"{name}.output: its run lies in the chain's: leave it out")
        folder, turns = _place(plan, name)
        own_name = f"{name}-{Path(plan.output).name}" if turns is None else folder.name
        words |= _tracked(config, name, own_name) | {"output": quoted(str(folder))}
    more = [f"{key}={value}" for key, value in words.items() if key not in said]
    return Link(name, Step(name, name, (*own, *more)), folder, turns)


def _place(plan: ChainPlan, name: str) -> tuple[Path, Path | None]:
    """Say where a stage's run lies and, if others make the same one, where they take turns."""
    if name != "stage1" or plan.shared is None:
        return Path(plan.output) / name, None
    made_by = {"words": list(plan.stage1), "seed": plan.seed, "version": installed_version()}
    key = fingerprint(made_by)[:12]
    return Path(plan.shared) / f"stage1-{key}", Path(plan.shared) / "turns" / key


def _value(words: Sequence[str], key: str) -> str:
    return next((word.partition("=")[2] for word in words if word.startswith(f"{key}=")), "")


def _on_hardware(config: Mapping[str, Any]) -> dict[str, str]:
    return {f"hardware.{key}": str(value) for key, value in config["hardware"].items()}


def _tracked(config: Mapping[str, Any], name: str, own_name: str) -> dict[str, str]:
    """Track a stage's run as the chain's own, in the same group, with what bears on it."""
    tracker, tracking = config["tracker"], config["tracking"]
    if "mode" not in tracker:
        return {"tracker": "none"}
    later = LINKS[LINKS.index(name) + 1 :]
    point = [
        item for item in tracking["point"] if not item.startswith(tuple(f"{s}." for s in later))
    ]
    words = {
        "tracker.mode": tracker["mode"],
        "tracker.project": quoted(str(tracker["project"])),
        "tracking.name": quoted(own_name),
        "tracking.group": quoted(tracking["group"]) or "''",
        "tracking.point": f"[{','.join(quoted(item) for item in point)}]",
    }
    if not tracker["artifacts"]:
        words["tracker.artifacts"] = "false"
    if tracker["entity"] is not None:
        words["tracker.entity"] = quoted(str(tracker["entity"]))
    return words


def _run_links(links: Sequence[Link], work: Work, terminal: Terminal) -> None:
    own = _COMPLETE_WAY_OUT if work.run.is_complete else ""
    for link in links:
        log_file = work.run.path / "logs" / f"{link.name}.txt"
        log.info("%s in %s (log: %s)", link.name, link.folder, log_file)
        with _turn(link.turns, is_stopped=lambda: work.stop.is_set):
            way_out = own if link.turns is None else _SHARED_WAY_OUT
            run_steps([link.step], log_file, terminal.run, way_out=way_out)


@contextmanager
def _turn(folder: Path | None, *, is_stopped: Callable[[], bool]) -> Iterator[None]:
    """Let those who make the same run make it one after the other: the others find it finished."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = None
    while lock is None:
        if is_stopped():
            raise Interrupted("stopped while another run made what this one starts from")
        try:
            lock = FolderLock(folder, patience_seconds=0.0)
        except ArtifactError:
            time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def summarise(links: Sequence[Link]) -> dict[str, Any]:
    """Join the figures of all links: `stage1/val/auroc`, `evaluate/iou_per_image`."""
    figures: dict[str, Any] = {}
    for link in links:
        if link.name == "evaluate":
            name = _value(link.step.words, "name")
            told = read_json(link.folder / "evaluation" / f"{name}.json")["figures"]
        else:
            told = read_json(link.folder / "summary.json")
        figures |= flat(told, f"{link.name}/")
    return plain(figures)  # type: ignore[no-any-return]


def _write_page(work: Work, links: Sequence[Link], summary: Mapping[str, Any]) -> None:
    """Write a page that leads to those of the stages."""
    pages = {
        link.name: os.path.relpath(link.folder / "report.html", work.run.path)
        for link in links
        if link.name != "evaluate"
    }
    report = Report(
        title=f"chain {work.run.path.name}",
        status=[f"{' -> '.join(link.name for link in links)}; each stage has a page of its own"],
        links={name: page for name, page in pages.items() if ":" not in page},
        tables=[Table("Figures", ["figure", "value"], [[k, v] for k, v in summary.items()])],
        texts={"Commands": "\n".join(link.step.line for link in links)},
    )
    write_report(work.run.path, report)

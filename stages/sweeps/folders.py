"""Say where the runs of a sweep's points lie, those of a chain's stages among them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import Manifest
from weakseg.artifacts.manifest import MANIFEST
from weakseg.errors import WeaksegError
from weakseg.plans import ChainPlan
from weakseg.stages.chain import links_of
from weakseg.stages.sweeps.ledger import Point

log = logging.getLogger(__name__)

STAGE1: Final = "stage1"
_NESTED: Final = (STAGE1, "stage2", "stage2/student", "stage3", "student")


def folders_of(output: Path, point: Point) -> dict[str, Path]:
    """Find the runs of a point that are there: "" for its own, `stage2` for that of a chain.

    Args:
        output: The sweep's folder.
        point: One of its points; of one that was never started nothing is found.
    """
    run = output / point.run
    if not point.run or not run.is_dir():
        return {}
    found = {"": run} | {name: run / name for name in _NESTED if (run / name).is_dir()}
    if STAGE1 not in found:
        try:
            shared = _shared_stage1(output, run)
        except WeaksegError as error:
            log.debug("%s: no stage 1 found: %s", run, error)
            shared = None
        if shared is not None and shared.is_dir():
            found[STAGE1] = shared
    return found


def _shared_stage1(output: Path, run: Path) -> Path | None:
    """Find the stage 1 that a chain has in common with others; None if it trained none.

    Its folder is found by its name in the sweep's own, so that a sweep may be moved.
    """
    if not (run / MANIFEST).is_file():
        return None
    chain = Manifest.read(run)
    if chain.kind != "chain" or STAGE1 not in chain.config.get("stages", ()):
        return None
    if (run / "stage2" / MANIFEST).is_file():
        folder = Path(str(Manifest.read(run / "stage2").config.get("cams", "")))
    else:
        folder = _stage1_to_be(chain.config)
    moved = output / "shared" / folder.name
    return moved if moved.is_dir() else folder


def _stage1_to_be(config: Mapping[str, Any]) -> Path:
    """Say where a chain that has no stage 2, or none yet, has its stage 1."""
    known = {one.name for one in dataclasses.fields(ChainPlan)}
    plan = ChainPlan(**{key: value for key, value in config.items() if key in known})
    return links_of(plan, config)[0].folder

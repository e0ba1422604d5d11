"""Keep an output folder to one way of reading frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from weakseg.artifacts import ArtifactError, differences, read_json, write_json
from weakseg.data.containers import is_url
from weakseg.plans import PredictPlan
from weakseg.stages.prediction.alarms import ALARMS
from weakseg.stages.prediction.rows import LINES, TABLE
from weakseg.stages.predictor import Predictor

SETTINGS: Final = "predict.json"


def settings_of(plan: PredictPlan, predictor: Predictor) -> dict[str, Any]:
    """Say what is read and what changes the rows; alarms are made of them, and may change."""
    return {
        "run": predictor.fingerprint,
        # Each stream has a folder of its own.
        "source": None if is_url(plan.source) else str(Path(plan.source).resolve()),
        "cut": predictor.threshold,
        "inference": predictor.inference.settings(),
        "every_seconds": plan.every_seconds,
        "frame_step": plan.frame_step,
        "smoothing": {"seconds": plan.smoothing.seconds},
    }


def claim(output: Path, settings: dict[str, Any], *, overwrite: bool) -> bool:
    """Keep an output folder to one way of reading; say whether what it holds is of that way.

    Raises:
        ArtifactError: If it holds predictions of another run or with other settings, and they are
            not to be overwritten.
    """
    path = output / SETTINGS
    was = read_json(path) if path.exists() and not overwrite else None
    if was is None:
        # Videos keep their own, by which they are known to be others.
        for name in (ALARMS, TABLE, LINES) if overwrite else ():
            (output / name).unlink(missing_ok=True)
        write_json(path, settings)
        return False
    if changed := differences(was, settings):
        raise ArtifactError(
            f"{output} holds predictions with other settings ({'; '.join(changed)}): choose "
            "another output, or overwrite=true to replace them"
        )
    return True

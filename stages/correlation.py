"""Say whether the pixel-correlation module of a stage-1 run was trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from weakseg.artifacts import load_run
from weakseg.errors import ArtifactError

_TRAINS_IT: Final = "weakseg.losses.EquivarianceLoss"


def correlation_is_trained(config: Mapping[str, Any]) -> bool:
    """Say whether the run of this resolved configuration has a module that learnt something.

    A run that takes the classifier of an earlier one (`trained`) has what that one has, and the
    benefit of the doubt where the earlier run is gone.
    """
    if earlier := config.get("trained"):
        try:
            return correlation_is_trained(load_run(earlier, kind="stage1").manifest.config)
        except ArtifactError:
            return True
    loss = config.get("loss") or {}
    return bool(loss.get("_target_") == _TRAINS_IT and loss.get("ecr_weight", 1.0) > 0)

"""Say which code a configuration may name, and refuse the rest before any of it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from weakseg.errors import WeaksegError

ALLOWED_TARGETS = frozenset(
    {
        "torch.optim.Adam",
        "torch.optim.AdamW",
        "torch.optim.SGD",
        "weakseg.cam.CamRecipe",
        "weakseg.data.Augmentation",
        "weakseg.data.FolderSource",
        "weakseg.data.IndexSource",
        "weakseg.data.SyntheticSource",
        "weakseg.importers.CocoReader",
        "weakseg.importers.IjmondReader",
        "weakseg.importers.LabelmeReader",
        "weakseg.importers.MaskFolderReader",
        "weakseg.importers.RiseReader",
        "weakseg.importers.Smoke5kReader",
        "weakseg.importers.SmokesegReader",
        "weakseg.importers.ViaReader",
        "weakseg.losses.ClassificationLoss",
        "weakseg.losses.ConsistencyLoss",
        "weakseg.losses.EquivarianceLoss",
        "weakseg.losses.SegmentationLoss",
        "weakseg.models.build_classifier",
        "weakseg.models.FoSp",
        "weakseg.models.MaskRcnn",
        "weakseg.models.Segmenter",
        "weakseg.models.TiledInference",
        "weakseg.refine.AffinityStep",
        "weakseg.refine.Background",
        "weakseg.refine.CamFusion",
        "weakseg.refine.ClipStep",
        "weakseg.refine.DarkChannel",
        "weakseg.refine.DenseCrf",
        "weakseg.refine.FalseAlarmThreshold",
        "weakseg.refine.FixedThreshold",
        "weakseg.refine.HighestThreshold",
        "weakseg.refine.MaskRule",
        "weakseg.refine.MixtureThreshold",
        "weakseg.refine.MultiScale",
        "weakseg.refine.OtsuThreshold",
        "weakseg.refine.SamStep",
        "weakseg.refine.SizeThreshold",
        "weakseg.refine.SlidingWindow",
        "weakseg.tracking.NoTracker",
        "weakseg.tracking.WandbTracker",
        "weakseg.training.FitSettings",
    }
)
"""What a `_target_` may name. A prefix would not do: `weakseg.data.x.os.system` has one too."""


class ConfigurationError(WeaksegError):
    """A configuration that cannot be run; the message names the key."""


def refuse_foreign_code(plain: Any) -> None:
    """Refuse a configuration, as plain containers, that names code outside the allow-list.

    Raises:
        ConfigurationError: Naming the key and what it asked for.
    """
    for key, name, value in _walk(plain):
        inside_hydra = key.startswith("hydra.")
        if name == "_target_" and not (
            _is_hydra_plugin(key, str(value)) if inside_hydra else value in ALLOWED_TARGETS
        ):
            raise ConfigurationError(f"{key}: {value!r} is not among the components it may build")
        if inside_hydra and "logging" in key and _names_foreign_code(name, str(value)):
            raise ConfigurationError(f"{key}: logging may not build {value!r}")


def _is_hydra_plugin(key: str, value: str) -> bool:
    """Launchers and sweepers are looked up among Hydra's plugins; callbacks are just called."""
    return key in ("hydra.launcher._target_", "hydra.sweeper._target_") and value.startswith(
        ("hydra._internal.core_plugins.", "hydra_plugins.")
    )


def _names_foreign_code(name: str, value: str) -> bool:
    if name == "class":
        return re.fullmatch(r"logging\.(\w+|handlers\.\w+)", value) is None
    return name == "()" and value != "colorlog.ColoredFormatter"


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    if isinstance(node, dict):
        for name, value in node.items():
            key = f"{path}.{name}" if path else str(name)
            yield key, str(name), value
            yield from _walk(value, key)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _walk(value, f"{path}[{index}]")

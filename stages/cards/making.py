"""Say in a model card how a segmenter was made: teachers, network, training, provenance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import safe_open

from weakseg.artifacts import FinishedRun, Manifest, RunFolder, load_run, read_json
from weakseg.errors import ArtifactError
from weakseg.report import Section, Table
from weakseg.stages.pages.words import UNKNOWN, told_selection, told_supervision
from weakseg.stages.segmenters import CLASSES, INFERENCE, SEGMENTER
from weakseg.stages.showing import BEST
from weakseg.stages.work import find_run

_TEACHERS: Final = {
    "frames_with_mask": "a real mask",
    "frames_with_pseudo_mask": "a pseudo-mask",
    "smoke_free_frames": "the label smoke-free",
    "smoke_frames_left_out": "nothing: labelled smoke, but without a mask that shows any",
}
_FIT: Final = (
    "epochs",
    "batch_size",
    "max_steps",
    "max_steps_per_epoch",
    "ema_decay",
    "warmup_fraction",
    "gradient_clip",
)
_PREDICT: Final = "source=FRAMES output=MASKS"
_RANDOM: Final = "random numbers"
_MEGA: Final = 1e6


def learner_of(config: Mapping[str, Any]) -> FinishedRun | None:
    """Find the run that learnt, where `trained` takes its segmenter; None if it is not there.

    Args:
        config: Of the run that takes it over. The one named may have taken it over itself.
    """
    run = None
    seen: set[str] = set()
    while (earlier := config.get("trained")) and earlier not in seen:
        seen.add(earlier)
        try:
            run = load_run(earlier, kind="stage3")
        except ArtifactError:
            return None
        config = run.manifest.config
    return run


def supervision_section(
    summary: Mapping[str, Any],
    kept: tuple[int, int] | None,
    config: Mapping[str, Any] | None,
) -> Section:
    """Say who taught which frames, and how far masks were believed.

    Args:
        summary: Of the run.
        kept: The epoch that was kept, and how many there were; None if the log does not say.
        config: Of the run that learnt; None if it is unknown.
    """
    rows: list[list[str | int]] = [
        [told, int(summary[f"supervision/{key}"])]
        for key, told in _TEACHERS.items()
        if f"supervision/{key}" in summary
    ]
    tables = [Table("Training frames", ["taught by", "frames"], rows)] if rows else []
    lines = [told_supervision(summary), told_selection(summary, kept)]
    if config is None:
        lines.append("Settings: unknown, for the run that learnt is not in its folder any more.")
    # Runs from before it could be chosen have none.
    asked = (config or {}).get("supervision") or {}
    settings = [[key, _said(asked[key])] for key in asked if key not in ("mode", "masks")]
    if settings:
        tables.append(Table("Settings", ["what", "value"], settings))
    return Section("Supervision", lines, tables=tables)


def network_section(run: RunFolder | FinishedRun, config: Mapping[str, Any]) -> Section:
    """Say what the network is, and what its weights began as."""
    found = read_json(run.path / SEGMENTER)
    settings = found.get("settings", found)
    reading = read_json(run.path / INFERENCE)
    begun = _first_weights(config["segmenter"])
    licence = "unknown: not recorded; ask who published them"
    if begun == _RANDOM:
        licence = "none is needed: nothing was taken over"
    rows: list[list[str]] = [
        ["class", str(found.get("class", "Segmenter"))],
        *([key, _said(value)] for key, value in settings.items() if key != "encoder_weights"),
        ["parameters", f"{_parameters(run.path / BEST) / _MEGA:.2f} million"],
        ["weights it began with", begun],
        ["licence of these weights", licence],
        *([f"reading: {key}", _said(value)] for key, value in reading.items()),
    ]
    note = "Input: RGB frames of any size. Output: a score of smoke in [0, 1] for every pixel."
    return Section("Network", [note], tables=[Table("Settings", ["what", "value"], rows)])


def training_section(
    run: RunFolder | FinishedRun, summary: Mapping[str, Any], config: Mapping[str, Any]
) -> Section:
    """Say how it was trained."""
    if summary["epoch_by"] == "trained":
        earlier = Path(str(config["trained"])).name
        told = f"None in this run: the segmenter is that of the run `{earlier}`, taken as it was."
        return Section("Training", [told])
    name = read_json(run.path / SEGMENTER).get("class", "Segmenter")
    is_own = bool(getattr(CLASSES.get(name), "learns_itself", False))
    rows = [
        ["seed", _said(config["seed"])],
        ["size read in training, pixels", _said(config["image_size"])],
        ["loss", "the network's own" if is_own else _named(config["loss"])],
        ["optimizer", _named(config["optimizer"])],
        ["head learns faster by", _said(config["head_lr_factor"])],
        *([key.replace("_", " "), _said(config["fit"][key])] for key in _FIT),
        ["seconds, with all measuring", f"{summary.get('seconds', math.nan):.0f}"],
        ["hardware and its energy", "unknown: not recorded"],
    ]
    return Section("Training", tables=[Table("Settings", ["what", "value"], rows)])


def provenance_section(manifest: Manifest, config: Mapping[str, Any]) -> Section:
    """Give the fingerprints of all three stages, as far as their folders are there."""
    rows = [
        ["this run (stage 3)", manifest.fingerprint],
        *([f"its input: {key}", value] for key, value in sorted(manifest.inputs.items())),
        *_of_stage2(manifest, config),
        ["version of weakseg", manifest.version],
        ["git commit of weakseg", manifest.git_commit or "unknown: not run from a checkout"],
        ["started", manifest.started or "unknown"],
    ]
    note = "Fingerprints are SHA-256 of all that changes a run's output: settings, inputs, version."
    return Section("Provenance", [note], tables=[Table("Made of", ["what", "value"], rows)])


def _of_stage2(manifest: Manifest, config: Mapping[str, Any]) -> list[list[str]]:
    """Give the inputs of the stage-2 run, if its folder holds that run still."""
    wanted = manifest.inputs.get("stage2")
    if wanted is None:
        return [["stages 1 and 2", "none: no pseudo-masks were used"]]
    try:
        found = find_run(
            str(config["pseudo_masks"]), kind="stage2", beside=str(config["output"])
        ).manifest
    except ArtifactError:
        found = None
    if found is None or found.fingerprint != wanted:
        return [["stage 1", "unknown: the folder of stage 2 does not hold that run any more"]]
    inputs = [[f"input of stage 2: {key}", value] for key, value in sorted(found.inputs.items())]
    return [*inputs, ["git commit of stage 2", found.git_commit or "unknown"]]


def loading_section(config: Mapping[str, Any]) -> Section:
    """Say which command uses the model."""
    run = str(config["output"])
    lines = [
        "Masks, soft scores and overlays of a folder of frames, with a table of them (weakseg "
        f"installed; `{run}` is this folder):"
    ]
    return Section("How to use it", lines, code=f"python -m weakseg.predict run={run} {_PREDICT}")


def _parameters(path: Path) -> int:
    """Count the numbers in a file of weights, without reading them."""
    with safe_open(path, framework="pt") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118


def _first_weights(segmenter: Mapping[str, Any]) -> str:
    """Say in words which weights a configured network started from."""
    named = [segmenter[key] for key in ("encoder_weights", "weights") if key in segmenter]
    if not named:
        return UNKNOWN
    return {
        "auto": "those of stage 1's classifier if its encoder is the same network, else the hub's",
        "hub": "pretrained ones from the hub",
        "none": _RANDOM,
        "None": _RANDOM,
    }.get(str(named[0]), "a file or a run that was named")


def _named(node: Mapping[str, Any]) -> str:
    """Name a configured component with its settings, but not where they lie."""
    name = str(node["_target_"]).rpartition(".")[2]
    told = ", ".join(f"{key} {_said(value)}" for key, value in node.items() if key[0] != "_")
    return f"{name} ({told})" if told else name


def _said(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
